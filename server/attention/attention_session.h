// One attention session in the coordinator's book: who holds what of it, how
// far it goes.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/attention/attention_link.h"
#include "server/attention/attention_types.h"
#include "server/attention/block_shares.h"
#include "server/leases/chunk_log.h"
#include "server/leases/leased.h"

namespace headwise {

struct AttentionWorker {
  std::string name;
  uint64_t registration_id = 0;
  std::shared_ptr<AttentionLink> link;
  std::vector<UnitShare> units;
  int64_t reserved_bytes = 0;
};

// Thread-safe. The number of stored positions is here and nowhere else: a chunk
// that all workers have staged is stored the moment that it grows.
class AttentionSession final : public Leased<AttentionWorker> {
 public:
  AttentionSession(std::string id, std::string tenant, AttentionConfig config,
                   std::vector<Worker> workers, absl::Time now);

  // One that shares the whole blocks of `origin` as it is now.
  static std::shared_ptr<AttentionSession> ForkOf(
      const AttentionSession& origin, std::string id, std::string tenant,
      std::vector<Worker> workers, absl::Time now);

  const AttentionConfig& config() const { return config_; }
  // What it may ever have, without what another one answers for
  // (block_shares.h).
  int64_t reserved_bytes() const;
  SessionInfo info() const;
  int64_t length() const;

  // For the one that changes it.
  bool HasChunk(const Chunk& chunk, int64_t num_positions) const;
  void Store(const Chunk& chunk, int64_t num_positions);
  // What was restored, or forked.
  void StoreAll(int64_t length, const ChunkLog& chunks);
  ChunkLog chunks() const;

 private:
  AttentionSession(std::string id, std::string tenant, AttentionConfig config,
                   std::vector<Worker> workers, absl::Time now,
                   std::unique_ptr<BlockShares> shares);

  const AttentionConfig config_;
  const std::unique_ptr<const BlockShares> shares_;
  mutable absl::Mutex mutex_;
  int64_t length_ ABSL_GUARDED_BY(mutex_) = 0;
  ChunkLog chunks_ ABSL_GUARDED_BY(mutex_);
};

using SessionUse = LeaseUse<AttentionSession>;
using SessionChange = LeaseChange<AttentionSession>;

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_
