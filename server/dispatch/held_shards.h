// What each worker was last told to load.

#ifndef HEADWISE_SERVER_DISPATCH_HELD_SHARDS_H_
#define HEADWISE_SERVER_DISPATCH_HELD_SHARDS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "server/placement/held_pieces.h"
#include "server/placement/planner.h"
#include "worker/step/worker_config.h"

namespace headwise {

// A worker keeps of its last shard what the next one has too
// (WorkerNode::Prepare); one that registers anew has nothing. A guess where a
// loading broke off: it decides what is loaded again, and no bit of an answer.
// Not thread-safe.
class HeldShards {
 public:
  // Beyond them the oldest registrations are forgotten.
  static constexpr size_t kMaxWorkers = 256;

  void Set(uint64_t registration_id, Shard shard);

  // By rank of a new placement: who registered as `registrations`.
  HeldPieces By(const std::vector<uint64_t>& registrations,
                const ModelShape& shape) const;

 private:
  std::map<uint64_t, Shard> shards_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_HELD_SHARDS_H_
