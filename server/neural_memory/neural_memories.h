// All neural memories of a coordinator: opened over its workers, kept in a
// book, expired when idle or with the session that they belong to.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORIES_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORIES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/leases/lease_book.h"
#include "server/leases/session_lifetimes.h"
#include "server/neural_memory/memory_link.h"
#include "server/neural_memory/memory_types.h"
#include "server/neural_memory/neural_memory.h"
#include "server/neural_memory/surprise_histogram.h"

namespace headwise {

struct NeuralMemoriesOptions {
  LeaseBookOptions<MemoryLink> book;
  SessionLifetimes sessions;  // what it refers to must outlive the memories
};

struct MemoryStats {
  LeaseStats held;
  int64_t state_bytes = 0;  // weights and momentum
  int64_t num_tokens = 0;   // written since the start
  int64_t num_undone = 0;  // writes that some workers had done, and that failed
  SurpriseCounts surprise;
};

// What became of opening or forking over workers.
struct OpenedParts {
  absl::Status refused;               // by the first worker that did
  std::vector<MemoryWorker> holders;  // who may have a part now
};

// A call on a memory, and on the session that it belongs to.
class MemoryUse {
 public:
  MemoryUse(LeaseUse<NeuralMemory> memory, std::shared_ptr<void> session)
      : memory_(std::move(memory)), session_(std::move(session)) {}
  NeuralMemory& operator*() const { return *memory_; }
  NeuralMemory* operator->() const { return &*memory_; }

 private:
  LeaseUse<NeuralMemory> memory_;
  std::shared_ptr<void> session_;
};

// Thread-safe. Calls block until workers have answered; none is made with a
// lock held. NotFound for a memory that is not the caller's; DataLoss for one
// whose worker is gone.
class NeuralMemories {
 public:
  explicit NeuralMemories(NeuralMemoriesOptions options,
                          const Clock& clock = Clock::Monotonic());

  // `session_id`: the attention session that it belongs to, or empty.
  // Unavailable if there are no workers; ResourceExhausted names the worker or
  // the tenant, needed and available bytes.
  absl::StatusOr<MemoryInfo> Create(const Caller& caller,
                                    const MemoryConfig& config,
                                    const MemoryStart& start,
                                    const std::string& session_id);
  // Written by all workers or by none. OutOfRange names the head and token at
  // which it goes beyond max_norm, and the tokens that are written.
  absl::StatusOr<MemoryWriteOutcome> Write(const Caller& caller,
                                           const std::string& memory_id,
                                           const MemoryWrite& write);
  // Forgets the tokens of the open chunk, at all workers or at none: what leads
  // beyond max_norm when the chunk ends may be one of them.
  absl::StatusOr<MemoryDropOutcome> DropOpenTokens(
      const Caller& caller, const std::string& memory_id);
  absl::StatusOr<MemoryReadAnswer> Read(const Caller& caller,
                                        const std::string& memory_id,
                                        const std::string& queries);
  absl::StatusOr<MemoryInfo> SetFrozen(const Caller& caller,
                                       const std::string& memory_id,
                                       bool frozen);
  absl::StatusOr<MemoryInfo> Fork(const Caller& caller,
                                  const std::string& memory_id,
                                  const std::string& session_id);
  absl::StatusOr<MemoryInfo> Get(const Caller& caller,
                                 const std::string& memory_id);
  std::vector<MemoryInfo> List(const Caller& caller);
  absl::Status Delete(const Caller& caller, const std::string& memory_id);

  // For snapshots: a memory that nobody finds until it is published, and whose
  // heads have yet to come.
  absl::StatusOr<std::shared_ptr<NeuralMemory>> OpenHidden(
      const Caller& caller, const MemoryConfig& config,
      const std::string& session_id);
  absl::Status Import(const Caller& caller, NeuralMemory& memory,
                      ImportMemoryRequest request);
  void Publish(const std::shared_ptr<NeuralMemory>& memory) {
    book_.Publish(memory);
  }
  void Drop(const std::shared_ptr<NeuralMemory>& memory) { book_.Drop(memory); }
  absl::StatusOr<MemoryUse> Use(const Caller& caller,
                                const std::string& memory_id);

  MemoryStats stats() const;
  const Clock& clock() const { return book_.clock(); }

  // Deletes what is over, renews the others at their workers.
  void Step() { book_.Step(); }

 private:
  using Worker = NeuralMemory::Worker;

  std::vector<Worker> ShareOut(int64_t num_heads);
  // The name of a new memory, and whether its session lives.
  struct Naming {
    std::string id;
    std::function<bool()> session_lives;
  };
  absl::StatusOr<Naming> NameFor(const Caller& caller,
                                 const std::string& session_id);
  absl::Status AddOrDrop(const std::shared_ptr<NeuralMemory>& memory,
                         bool is_hidden, const OpenedParts& opened);

  const SessionLifetimes sessions_;
  std::atomic<int64_t> num_tokens_ = 0;
  std::atomic<int64_t> num_undone_ = 0;
  SurpriseHistogram surprise_;
  LeaseBook<NeuralMemory, MemoryLink> book_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_NEURAL_MEMORIES_H_
