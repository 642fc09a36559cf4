// headwise.v1.Selection over DocumentScorer and SelectionJobs.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_SERVICE_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/selection.grpc.pb.h"
#include "server/frontends/document_stream.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/job_stream.h"
#include "server/frontends/selection_folders.h"
#include "server/frontends/selection_metrics.h"
#include "server/frontends/waiting_stream.h"
#include "server/leases/task_pool.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

// Callbacks run on gRPC threads and never block. Calls about jobs read the
// books, so they run on a pool; streams of documents and long calls have pools
// of their own.
class SelectionService final : public v1::Selection::CallbackService {
 public:
  explicit SelectionService(const FrontendContext& frontend);
  // Requires Stop.
  ~SelectionService() override;

  // Goes on with the jobs of the books. To be called before the server starts.
  // Errors of SelectionJobs::Open.
  absl::Status Start(const SelectionFolders& folders);
  // Jobs stop where they are and their watchers are told; returns when no job
  // uses the engine. Calls that are under way may still end, others are
  // refused. Thread-safe; has an effect once.
  void Stop();

  const std::shared_ptr<SelectionMetrics>& metrics() const { return metrics_; }

  grpc::ServerBidiReactor<v1::ScoreDocumentsRequest,
                          v1::ScoreDocumentsResponse>*
  ScoreDocuments(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::CreateJobResponse>* CreateJob(
      grpc::CallbackServerContext* context,
      const v1::CreateJobRequest* request) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context,
                                   const v1::GetJobRequest* request,
                                   v1::SelectionJob* response) override;
  grpc::ServerWriteReactor<v1::SelectionJob>* WatchJob(
      grpc::CallbackServerContext* context,
      const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* context,
                                     const v1::PauseJobRequest* request,
                                     v1::SelectionJob* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context,
                                      const v1::ResumeJobRequest* request,
                                      v1::SelectionJob* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context,
                                      const v1::CancelJobRequest* request,
                                      v1::SelectionJob* response) override;
  grpc::ServerWriteReactor<v1::TopKResponse>* TopK(
      grpc::CallbackServerContext* context,
      const v1::TopKRequest* request) override;
  grpc::ServerUnaryReactor* Quantiles(grpc::CallbackServerContext* context,
                                      const v1::QuantilesRequest* request,
                                      v1::QuantilesResponse* response) override;

 private:
  using Jobs = std::shared_ptr<SelectionJobs>;
  // Of calls that take milliseconds, that read all input, that sort all rows.
  struct JobPools {
    TaskPool calls{2};
    TaskPool creates{2};
    TaskPool tops{2};
  };
  static constexpr int kNumDocumentThreads = 2;

  // FailedPrecondition if jobs are not served, Unavailable after Stop.
  absl::StatusOr<Jobs> FindJobs() const;

  // Runs `work` on the pool and finishes with its status.
  grpc::ServerUnaryReactor* Run(
      const char* api, grpc::CallbackServerContext* context,
      std::function<absl::Status(SelectionJobs&)> work);
  // Runs `work` on a pool. It writes to its stream and looks at `cancelled`.
  template <typename Message>
  grpc::ServerWriteReactor<Message>* RunLong(
      const char* api, grpc::CallbackServerContext* context,
      TaskPool JobPools::*pool,
      std::function<absl::Status(SelectionJobs&, WaitingStream<Message>&,
                                 const std::atomic<bool>& cancelled)>
          work);
  absl::Status CreateFromSpec(const v1::CreateJobRequest& request,
                              SelectionJobs& jobs,
                              WaitingStream<v1::CreateJobResponse>& stream,
                              const std::atomic<bool>& cancelled);
  absl::Status FindTop(const v1::TopKRequest& request, SelectionJobs& jobs,
                       WaitingStream<v1::TopKResponse>& stream,
                       const std::atomic<bool>& cancelled);
  // Run, where the answer is the job as `work` returns it.
  grpc::ServerUnaryReactor* RunOnJob(
      const char* api, grpc::CallbackServerContext* context,
      v1::SelectionJob* response,
      std::function<absl::StatusOr<JobStatus>(SelectionJobs&)> work);
  static void Watch(const Jobs& jobs, absl::string_view id,
                    absl::Duration interval,
                    const std::shared_ptr<JobStream>& stream);

  const FrontendContext frontend_;
  const MakeStreamScorer make_stream_scorer_;
  const std::shared_ptr<SelectionMetrics> metrics_;
  std::string temp_dir_;       // for sorting; set by Start
  absl::Status jobs_missing_;  // why jobs are not served; set by Start
  const std::shared_ptr<std::atomic<int>> num_streams_ =
      std::make_shared<std::atomic<int>>(0);

  mutable absl::Mutex mutex_;
  Jobs jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<const JobStream*, std::weak_ptr<JobStream>> watchers_
      ABSL_GUARDED_BY(mutex_);
  // Last, so that what they run finds all else.
  TaskPool documents_pool_{kNumDocumentThreads};
  std::unique_ptr<JobPools> pools_;  // set by Start; null: jobs are not served
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_SERVICE_H_
