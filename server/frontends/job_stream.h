// The server's end of Selection.WatchJob: the newest state of a job, as fast as
// the client reads.

#ifndef HEADWISE_SERVER_FRONTENDS_JOB_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_JOB_STREAM_H_

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/selection.pb.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

// Thread-safe. gRPC owns one reference until OnDone, the watch another one.
class JobStream final : public grpc::ServerWriteReactor<v1::SelectionJob> {
 public:
  // Called once, with the status that the client gets, before it does.
  using OnEnd = std::function<void(JobStream*, const absl::Status&)>;
  static std::shared_ptr<JobStream> Create(OnEnd on_end);

  // Replaces what has not been sent. The stream ends after a final state.
  void Offer(const JobStatus& status);
  // Kept until the stream ends; let go at once if it has ended.
  void Hold(std::unique_ptr<JobWatch> watch);
  // What is on its way is still sent. No effect on a stream that has ended.
  void End(absl::Status status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit JobStream(OnEnd on_end) : on_end_(std::move(on_end)) {}
  void Pump();

  const OnEnd on_end_;
  std::shared_ptr<JobStream> self_;  // until OnDone
  v1::SelectionJob in_flight_;       // gRPC's while writing_

  absl::Mutex mutex_;
  std::unique_ptr<JobWatch> watch_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::SelectionJob> pending_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_JOB_STREAM_H_
