#include "server/neural_memory/neural_memory.h"

#include <utility>

#include "worker/memory_parts/memory_bytes.h"

namespace headwise {

NeuralMemory::NeuralMemory(std::string id, std::string tenant,
                           MemoryConfig config, std::vector<Worker> workers,
                           std::function<bool()> session_lives, absl::Time now)
    : Leased({"memory", std::move(id), std::move(tenant), config.ttl},
             std::move(workers), now),
      config_(std::move(config)),
      session_lives_(std::move(session_lives)) {}

MemoryInfo NeuralMemory::info() const {
  MemoryInfo info;
  info.memory_id = id();
  info.config = config_;
  info.state_bytes = config_.num_heads * MemoryStateBytes(config_.spec);
  for (const Worker& worker : workers()) {
    info.workers.push_back({worker.name, worker.reserved_bytes,
                            worker.first_head, worker.num_heads});
  }
  info.num_tokens = state().num_tokens;
  info.frozen = frozen();
  info.of_session = of_session();
  info.lost = std::string(lost().message());
  return info;
}

MemoryState NeuralMemory::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

bool NeuralMemory::IsOver(absl::Time now) const {
  return of_session() ? !session_lives_() : Leased::IsOver(now);
}

bool NeuralMemory::frozen() const {
  absl::MutexLock lock(&mutex_);
  return frozen_;
}

void NeuralMemory::SetFrozen(bool frozen) {
  absl::MutexLock lock(&mutex_);
  frozen_ = frozen;
}

int64_t NeuralMemory::NextVersion() {
  absl::MutexLock lock(&mutex_);
  return ++last_version_;
}

bool NeuralMemory::HasWrite(int64_t offset, int64_t num_tokens,
                            const std::string& sha256) const {
  absl::MutexLock lock(&mutex_);
  return writes_.Has(offset, num_tokens, sha256);
}

void NeuralMemory::Advance(const MemoryState& state, int64_t offset,
                           const std::string& sha256) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
  writes_.Add(offset, state.num_tokens - offset, sha256);
}

void NeuralMemory::GoBack(const MemoryState& state) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
  writes_.KeepUpTo(state.num_tokens);
}

void NeuralMemory::Begin(int64_t num_tokens, bool frozen,
                         const ChunkLog& writes) {
  absl::MutexLock lock(&mutex_);
  state_ = {0, num_tokens};
  frozen_ = frozen;
  writes_ = writes;
}

ChunkLog NeuralMemory::writes() const {
  absl::MutexLock lock(&mutex_);
  return writes_;
}

}  // namespace headwise
