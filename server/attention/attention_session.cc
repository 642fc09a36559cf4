#include "server/attention/attention_session.h"

#include <utility>

namespace headwise {

AttentionSession::AttentionSession(std::string id, std::string tenant,
                                   AttentionConfig config,
                                   std::vector<Worker> workers, absl::Time now)
    : Leased({"session", std::move(id), std::move(tenant), config.ttl},
             std::move(workers), now),
      config_(std::move(config)) {}

SessionInfo AttentionSession::info() const {
  SessionInfo info;
  info.session_id = id();
  info.config = config_;
  for (const Worker& worker : workers()) {
    info.workers.push_back({worker.name, worker.reserved_bytes,
                            static_cast<int64_t>(worker.units.size())});
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
