// Are the tensors of a write or a read what they must be, and what does each
// worker get of them? Pure.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_ROWS_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/neural_memory/memory_types.h"
#include "worker/memory_parts/memory_messages.h"

namespace headwise {

// Tokens of the write. InvalidArgument if a tensor is not as long as those of 1
// to kMaxMemoryRows tokens, if there are no gates, or if the outputs would not
// fit into an answer.
absl::StatusOr<int64_t> TokensOf(const MemoryConfig& config,
                                 const MemoryWrite& write);
// Queries of a read, likewise.
absl::StatusOr<int64_t> QueriesOf(const MemoryConfig& config,
                                  const std::string& queries);

// DataLoss unless sha256 is that of the write's tensors.
absl::Status CheckHash(const MemoryWrite& write);

// All heads' rows as floats, in the order of the wire.
struct MemoryTensors {
  int64_t num_rows = 0;
  std::vector<float> keys;     // [num_rows][num_heads][head_dim]
  std::vector<float> values;   // likewise
  std::vector<float> queries;  // likewise, or empty
  std::vector<float> theta;    // [num_rows][num_heads]
  std::vector<float> eta;      // likewise
  std::vector<float> alpha;    // likewise
};

// Of a write with so many tokens. InvalidArgument names head, token and field
// of a number that is not finite, or of a gate out of its range.
absl::StatusOr<MemoryTensors> ReadTensors(const MemoryConfig& config,
                                          const MemoryWrite& write,
                                          int64_t num_tokens);
// InvalidArgument names the query, head and dimension of the first number that
// is not finite.
absl::StatusOr<std::vector<float>> ReadQueries(const MemoryConfig& config,
                                               const std::string& queries);

// Heads [first, first + count) of [num_rows][num_heads][width].
std::vector<float> HeadsOf(const std::vector<float>& tensor, int64_t num_heads,
                           int64_t width, int64_t first, int64_t count);
// The other way round: puts them into `tensor`, which has its size.
void PutHeads(const std::vector<float>& heads, int64_t num_heads, int64_t width,
              int64_t first, int64_t count, std::vector<float>& tensor);

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_ROWS_H_
