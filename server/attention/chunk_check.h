// Is a chunk of keys and values what it says, and can it be stored? Pure.

#ifndef HEADWISE_SERVER_ATTENTION_CHUNK_CHECK_H_
#define HEADWISE_SERVER_ATTENTION_CHUNK_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/attention/attention_types.h"

namespace headwise {

// Positions of the chunk. InvalidArgument if keys and values are not as long as
// 1 to kMaxChunkPositions positions.
absl::StatusOr<int64_t> PositionsOf(const SessionShape& shape,
                                    const Chunk& chunk);

// DataLoss unless sha256 is that of keys followed by values.
absl::Status CheckHash(const Chunk& chunk);

// InvalidArgument names position and KV head of the first number that is NaN,
// infinite, or too large for how the session stores it.
absl::Status CheckNumbers(const SessionShape& shape, const Chunk& chunk,
                          int64_t num_positions);

// What one worker is to stage of a chunk that has passed.
StageRequest StageFor(const std::string& session_id, const SessionShape& shape,
                      const std::vector<UnitShare>& units, const Chunk& chunk,
                      int64_t num_positions);

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_CHUNK_CHECK_H_
