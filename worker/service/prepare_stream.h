// The server's end of one Prepare: progress, then what was prepared.

#ifndef HEADWISE_WORKER_SERVICE_PREPARE_STREAM_H_
#define HEADWISE_WORKER_SERVICE_PREPARE_STREAM_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.pb.h"
#include "worker/service/worker_node.h"

namespace headwise {

struct PrepareTimes {
  // How often a Prepare that waits or loads says so. Below what a coordinator
  // takes for silence, 20 s.
  absl::Duration keep_alive = absl::Seconds(5);
  // And how long without a word of the engine. Longer than a piece of a shard,
  // tens of MB, takes from a cold disk over a network.
  absl::Duration max_stall = absl::Seconds(60);
};

// Deletes itself. Only the newest progress waits to be written, so a slow
// reader costs nothing. While the command waits in the node's queue, or a piece
// of the loading takes long, the last progress is said again every keep_alive
// of time, so that nobody takes the worker for frozen; but once the engine has
// asked for nothing for max_stall it may hang, and the stream falls silent as
// it did. A call that is cancelled ends the loading.
//
// gRPC calls OnDone only after Finish, and Finish waits for the node's answer
// and the alarm, so their callbacks never outlive this.
class PrepareStream final
    : public grpc::ServerWriteReactor<worker::v1::PrepareResponse> {
 public:
  PrepareStream(WorkerNode& node, const worker::v1::PrepareRequest& request,
                const PrepareTimes& times);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What is to be done once the lock is released. Without one of the two,
  // another thread may have finished the call: `this` may be gone.
  struct Next {
    bool write = false;
    bool finish = false;
    absl::Status status;
    bool any() const { return write || finish; }
  };

  // Whether somebody still waits for the answer.
  bool OnProgress(double value);
  void OnPrepared(absl::StatusOr<PreparedShard> prepared);
  void OnAlarm();
  void SetAlarmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Next DecideLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const Next& next);

  const PrepareTimes times_;
  worker::v1::PrepareResponse response_;  // belongs to gRPC while writing_

  absl::Mutex mutex_;
  // Its callback is to come, also if it is cancelled. One for each period.
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  double progress_ ABSL_GUARDED_BY(mutex_) = 0.0;
  absl::Time heard_at_ ABSL_GUARDED_BY(mutex_);    // from the engine
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;  // something to write
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  PreparedShard prepared_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_PREPARE_STREAM_H_
