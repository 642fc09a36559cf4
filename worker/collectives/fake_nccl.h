// For tests: stands in for NCCL and for the GPUs of one group, in one process.
// Records every call, and lets one of them fail.

#ifndef HEADWISE_WORKER_COLLECTIVES_FAKE_NCCL_H_
#define HEADWISE_WORKER_COLLECTIVES_FAKE_NCCL_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "worker/collectives/nccl_communicator.h"

namespace headwise {

// Thread-safe; outlives its communicators. A rank's calls run in their order; a
// collective runs once it is next on every rank with equal arguments, a send
// once its receive is next, so that what NCCL lets hang does not end here.
class FakeNccl {
 public:
  enum class Failure {
    kNone,
    kAtOnce,  // the call says so
    kLater,   // Poll says so
    kNever,   // what the call began does not end
    kWrong,   // the sum that it began is off by one, on all ranks
  };
  // The `call`-th call of `rank`, from 1; Poll and Abort do not count.
  struct Plan {
    Failure failure = Failure::kNone;
    int rank = 0;
    int call = 0;
  };

  // `staging_bytes`, of each rank, must hold world_size + 1 pieces of 256
  // bytes.
  FakeNccl(int world_size, int64_t staging_bytes, const Plan& plan);
  FakeNccl(int world_size, int64_t staging_bytes)
      : FakeNccl(world_size, staging_bytes, Plan()) {}

  // Once for each rank.
  std::unique_ptr<NcclCommunicator> Open(int rank, int version = 22809);

  // Names of the calls, Abort among them.
  std::vector<std::string> calls(int rank) const;
  // Calls after an error or after Abort, which NCCL does not allow.
  int misuses() const;

 private:
  class Communicator;

  struct Operation {
    std::string name;
    int64_t begin = 0;
    int64_t num_bytes = 0;
    int64_t argument = 0;  // root, peer, type or place
    bool never_ends = false;
    bool is_wrong = false;
    uint8_t* memory = nullptr;  // of SumOnDevice

    bool IsSameAs(const Operation& other) const {
      return name == other.name && begin == other.begin &&
             num_bytes == other.num_bytes && argument == other.argument;
    }
  };
  struct Rank {
    std::vector<uint8_t> host;
    std::vector<uint8_t> device;
    std::deque<Operation> queue;
    std::vector<std::string> calls;
    bool fails_later = false;
    bool is_over = false;  // after an error, or aborted
  };

  absl::Status Call(int rank, Operation operation, bool is_enqueued = true);
  absl::StatusOr<bool> Poll(int rank);
  void Abort(int rank);
  bool CountCall(int rank, const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Copies(Rank& rank) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Delivers(int from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Collects() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Execute(const Operation& operation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename T>
  void Sum(const Operation& operation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Plan plan_;
  mutable absl::Mutex mutex_;
  std::vector<Rank> ranks_ ABSL_GUARDED_BY(mutex_);
  int misuses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_FAKE_NCCL_H_
