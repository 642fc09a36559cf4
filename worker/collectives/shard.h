// Which values of a chunk each rank adds.

#ifndef HEADWISE_WORKER_COLLECTIVES_SHARD_H_
#define HEADWISE_WORKER_COLLECTIVES_SHARD_H_

#include <algorithm>
#include <cstdint>

namespace headwise {

struct Shard {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
};

// The shards of all ranks cut [0, num_values) in rank order, as evenly as whole
// cache lines allow, so that two ranks never write to the same line.
template <typename T>
Shard ShardOf(int rank, int world_size, int64_t num_values) {
  constexpr int64_t kLine = 64 / sizeof(T);
  const int64_t num_lines = (num_values + kLine - 1) / kLine;
  const int64_t begin = num_lines * rank / world_size * kLine;
  const int64_t end = num_lines * (rank + 1) / world_size * kLine;
  return {std::min(begin, num_values), std::min(end, num_values)};
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_SHARD_H_
