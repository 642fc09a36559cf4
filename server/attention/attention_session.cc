#include "server/attention/attention_session.h"

#include <utility>

#include "model/head_plan/kv_retention.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {

namespace {

BytesByWorker ReservedOf(const std::vector<AttentionWorker>& workers) {
  BytesByWorker bytes;
  for (const AttentionWorker& worker : workers) {
    bytes.push_back(worker.reserved_bytes);
  }
  return bytes;
}

// Blocks that a fork at this length has in common with its origin: whole ones,
// of units that drop none.
BytesByWorker SharedOf(const std::vector<AttentionWorker>& workers,
                       const SessionShape& shape, int64_t length) {
  const int64_t whole = length / KvLayout::kPositions * KvLayout::kPositions;
  BytesByWorker bytes;
  for (const AttentionWorker& worker : workers) {
    int64_t num_blocks = 0;
    for (const UnitShare& share : worker.units) {
      if (!Drops(share.policy)) num_blocks += MaxBlocks(share, whole);
    }
    bytes.push_back(num_blocks * shape.layout().block_bytes());
  }
  return bytes;
}

}  // namespace

AttentionSession::AttentionSession(std::string id, std::string tenant,
                                   AttentionConfig config,
                                   std::vector<Worker> workers, absl::Time now,
                                   std::unique_ptr<BlockShares> shares)
    : Leased({"session", std::move(id), std::move(tenant), config.ttl},
             std::move(workers), now),
      config_(std::move(config)),
      shares_(std::move(shares)) {}

AttentionSession::AttentionSession(std::string id, std::string tenant,
                                   AttentionConfig config,
                                   std::vector<Worker> workers, absl::Time now)
    : AttentionSession(std::move(id), std::move(tenant), std::move(config),
                       workers, now,
                       std::make_unique<BlockShares>(ReservedOf(workers))) {}

std::shared_ptr<AttentionSession> AttentionSession::ForkOf(
    const AttentionSession& origin, std::string id, std::string tenant,
    std::vector<Worker> workers, absl::Time now) {
  const int64_t length = origin.length();
  auto shares = std::make_unique<BlockShares>(
      *origin.shares_, ReservedOf(workers),
      SharedOf(workers, origin.config_.shape, length));
  // Not make_shared, whose constructor is not ours.
  std::shared_ptr<AttentionSession> fork(
      new AttentionSession(std::move(id), std::move(tenant), origin.config_,
                           std::move(workers), now, std::move(shares)));
  fork->StoreAll(length, origin.chunks());
  return fork;
}

int64_t AttentionSession::reserved_bytes() const {
  int64_t sum = 0;
  for (const int64_t bytes : shares_->bytes()) sum += bytes;
  return sum;
}

SessionInfo AttentionSession::info() const {
  SessionInfo info;
  info.session_id = id();
  info.config = config_;
  const BytesByWorker bytes = shares_->bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    const Worker& worker = workers()[i];
    info.workers.push_back(
        {worker.name, bytes[i], static_cast<int64_t>(worker.units.size())});
  }
  info.stored_positions = length();
  info.lost = std::string(lost().message());
  return info;
}

int64_t AttentionSession::length() const {
  absl::MutexLock lock(&mutex_);
  return length_;
}

bool AttentionSession::HasChunk(const Chunk& chunk,
                                int64_t num_positions) const {
  absl::MutexLock lock(&mutex_);
  return chunks_.Has(chunk.offset, num_positions, chunk.sha256);
}

void AttentionSession::Store(const Chunk& chunk, int64_t num_positions) {
  absl::MutexLock lock(&mutex_);
  length_ = chunk.offset + num_positions;
  chunks_.Add(chunk.offset, num_positions, chunk.sha256);
}

void AttentionSession::StoreAll(int64_t length, const ChunkLog& chunks) {
  absl::MutexLock lock(&mutex_);
  length_ = length;
  chunks_ = chunks;
}

ChunkLog AttentionSession::chunks() const {
  absl::MutexLock lock(&mutex_);
  return chunks_;
}

}  // namespace headwise
