// One neural memory in the coordinator's book: who holds which heads, how far
// it is written, whether it may be.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORY_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/leases/chunk_log.h"
#include "server/leases/leased.h"
#include "server/neural_memory/memory_link.h"
#include "server/neural_memory/memory_types.h"

namespace headwise {

struct MemoryWorker {
  std::string name;
  uint64_t registration_id = 0;
  std::shared_ptr<MemoryLink> link;
  int64_t first_head = 0;
  int64_t num_heads = 0;
  int64_t reserved_bytes = 0;
};

// Which state of the memory is meant (memory_messages.h), and how many tokens
// it has.
struct MemoryState {
  int64_t version = 0;
  int64_t num_tokens = 0;
};

// Thread-safe. The state that counts is here and nowhere else: what all workers
// have made of a write is the memory's state the moment that it advances.
class NeuralMemory final : public Leased<MemoryWorker> {
 public:
  // `session_lives` is of the attention session that the memory belongs to;
  // empty: of none.
  NeuralMemory(std::string id, std::string tenant, MemoryConfig config,
               std::vector<Worker> workers, std::function<bool()> session_lives,
               absl::Time now);

  const MemoryConfig& config() const { return config_; }
  MemoryInfo info() const;
  MemoryState state() const;

  bool of_session() const { return session_lives_ != nullptr; }
  // Its session is gone; of none, it was idle for too long.
  bool IsOver(absl::Time now) const;

  bool frozen() const;
  void SetFrozen(bool frozen);

  // For the one that changes it.
  //
  // A version that no write was given before.
  int64_t NextVersion();
  bool HasWrite(int64_t offset, int64_t num_tokens,
                const std::string& sha256) const;
  void Advance(const MemoryState& state, int64_t offset,
               const std::string& sha256);
  // To fewer tokens: writes that went beyond are not known any more.
  void GoBack(const MemoryState& state);
  // What was restored, or forked: version 0 of its workers.
  void Begin(int64_t num_tokens, bool frozen, const ChunkLog& writes);
  ChunkLog writes() const;

 private:
  const MemoryConfig config_;
  const std::function<bool()> session_lives_;

  mutable absl::Mutex mutex_;
  MemoryState state_ ABSL_GUARDED_BY(mutex_);
  int64_t last_version_ ABSL_GUARDED_BY(mutex_) = 0;
  ChunkLog writes_ ABSL_GUARDED_BY(mutex_);
  bool frozen_ ABSL_GUARDED_BY(mutex_) = false;
};

using MemoryChange = LeaseChange<NeuralMemory>;

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORY_H_
