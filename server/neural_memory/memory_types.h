// What callers ask of neural memories, and what they are told: plain values.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_TYPES_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_TYPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/memory_spec.h"
#include "server/leases/caller.h"
#include "worker/memory_parts/memory_messages.h"
#include "worker/sessions/float_bytes.h"

namespace headwise {

// Of every token and head (memory_head.h).
struct MemoryGates {
  float theta = 0.0f;  // 0 to kMaxMemoryTheta
  float eta = 0.0f;    // 0 to 1
  float alpha = 0.0f;  // 0 to 1
};

struct MemoryConfig {
  int64_t num_heads = 0;  // 1 to kMaxMemoryHeads
  MemorySpec spec;        // of each head
  // Of writes that bring none: of all heads or of each; none: they must.
  std::vector<MemoryGates> default_gates;
  FloatType input_type = FloatType::kFp32;
  absl::Duration ttl = absl::Minutes(10);

  // Requires default_gates.
  const MemoryGates& GatesOf(int64_t head) const {
    return default_gates[default_gates.size() == 1 ? 0
                                                   : static_cast<size_t>(head)];
  }
  // [num_heads][head_dim] of one token.
  int64_t token_floats() const { return num_heads * spec.head_dim; }
};
inline constexpr absl::Duration kMaxMemoryTtl = absl::Hours(24);

// InvalidArgument names field, value and limit.
absl::Status CheckMemoryConfig(const MemoryConfig& config);

// What a new memory knows.
struct MemoryStart {
  uint64_t seed = 0;  // of weights that are drawn (initial_weights.h)
  // fp32 [num_heads][num_weights]; null: drawn. Must live as long as the call.
  const std::string* weights = nullptr;
};

struct MemoryInfo {
  struct Worker {
    std::string name;
    int64_t reserved_bytes = 0;
    int64_t first_head = 0;
    int64_t num_heads = 0;
  };
  std::string memory_id;
  MemoryConfig config;
  int64_t num_tokens = 0;
  int64_t state_bytes = 0;  // weights and momentum of all heads
  std::vector<Worker> workers;
  bool frozen = false;
  bool of_session = false;
  std::string lost;  // empty, or why

  int64_t reserved_bytes() const {
    int64_t bytes = 0;
    for (const Worker& worker : workers) bytes += worker.reserved_bytes;
    return bytes;
  }
};

// Tensors [tokens][num_heads][head_dim] of the memory's input type; gates fp32
// [tokens][num_heads] or [tokens]. They must live as long as the call.
struct MemoryWrite {
  int64_t offset = 0;  // tokens written before
  const std::string& keys;
  const std::string& values;
  const std::string& queries;  // may be empty
  const std::string& theta;    // may be empty, as the next two
  const std::string& eta;
  const std::string& alpha;
  const std::string& sha256;  // 32 bytes, of all these in order
};

struct MemoryWriteOutcome {
  int64_t num_tokens = 0;
  bool was_written = false;     // before: the same bytes at the same offset
  std::vector<float> outputs;   // [tokens][num_heads][head_dim], or empty
  std::vector<float> surprise;  // [tokens][num_heads]; empty if was_written
};

struct MemoryDropOutcome {
  int64_t num_tokens = 0;   // of the memory, a multiple of its chunk_len
  int64_t num_dropped = 0;  // tokens
};

struct MemoryReadAnswer {
  std::vector<float> outputs;  // [queries][num_heads][head_dim]
  int64_t num_tokens = 0;
};
// Of an answer: it must fit into a message of 16 MiB.
inline constexpr int64_t kMaxMemoryAnswerBytes = 15 << 20;

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_TYPES_H_
