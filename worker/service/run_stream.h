// One Run call: steps in, answers out, in order.

#ifndef HEADWISE_WORKER_SERVICE_RUN_STREAM_H_
#define HEADWISE_WORKER_SERVICE_RUN_STREAM_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "worker/service/worker_node.h"
#include "worker/step/step.h"

namespace headwise {

// Deletes itself in OnDone. Steps are read while another runs, at most
// kMaxSteps unanswered; then the next is read only when one has been answered.
// When the stream ends or breaks the group is aborted at once, so that no peer
// waits in a collective for this rank. Finish comes only after the node has
// answered every step, so that no callback outlives the stream.
class RunStream final
    : public grpc::ServerBidiReactor<worker::v1::StepRequest,
                                     worker::v1::StepResponse> {
 public:
  static constexpr size_t kMaxSteps = 8;

  // The steps of `membership_epoch` are claimed for us.
  RunStream(WorkerNode& node, uint64_t membership_epoch);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // A step's place in the order of answers.
  struct Slot {
    uint64_t membership_epoch = 0;
    uint64_t step_id = 0;
    std::optional<absl::StatusOr<StepResult>> result;
  };

  // What is to be done once the lock is released. A read or a write that was
  // decided on keeps us alive until it has been started; without one, another
  // thread may have finished the call, so nothing of ours may be touched.
  struct Next {
    bool read = false;
    bool write = false;
    bool finish = false;
  };

  void OnResult(uint64_t slot_number, absl::StatusOr<StepResult> result);
  Next DecideLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(Next next);

  WorkerNode& node_;
  const uint64_t membership_epoch_;
  worker::v1::StepRequest request_;    // belongs to gRPC while reading_
  worker::v1::StepResponse response_;  // belongs to gRPC while writing_

  absl::Mutex mutex_;
  std::deque<Slot> slots_ ABSL_GUARDED_BY(mutex_);   // unwritten, oldest first
  uint64_t first_slot_ ABSL_GUARDED_BY(mutex_) = 0;  // number of slots_.front()
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;     // no more steps will come
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;    // no answer can be written
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_RUN_STREAM_H_
