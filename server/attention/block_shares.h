// Who answers for the bytes of blocks that sessions share with their forks.

#ifndef HEADWISE_SERVER_ATTENTION_BLOCK_SHARES_H_
#define HEADWISE_SERVER_ATTENTION_BLOCK_SHARES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

using BytesByWorker = std::vector<int64_t>;

// A session's bytes at each of its workers, counted so that those of a session
// and of all that was forked from it, and so on, add up to what the workers
// have promised: a shared block is its origin's. When the origin goes, the fork
// that shares most of it answers for that, and the others share it with that
// fork: shared blocks are a beginning, so the longest has the others. Thread-
// safe.
class BlockShares {
 public:
  explicit BlockShares(BytesByWorker bytes);
  // Of a fork, of whose `bytes` so many are `shared` with the origin.
  BlockShares(const BlockShares& origin, BytesByWorker bytes,
              BytesByWorker shared);
  ~BlockShares();
  BlockShares& operator=(const BlockShares&) = delete;

  BytesByWorker bytes() const;

 private:
  struct Node {
    Node* origin = nullptr;
    std::vector<Node*> forks;
    BytesByWorker bytes;   // all that it uses
    BytesByWorker shared;  // of them, what its origin answers for
  };
  // One for all that descends from one session.
  const std::shared_ptr<absl::Mutex> mutex_;
  Node node_ ABSL_GUARDED_BY(*mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_BLOCK_SHARES_H_
