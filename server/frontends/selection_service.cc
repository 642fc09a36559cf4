#include "server/frontends/selection_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/selection_parser.h"
#include "server/frontends/selection_scorers.h"
#include "server/frontends/selection_writer.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);
constexpr int kTopRowsOfMessage = 256;

absl::Status LeftError() { return absl::CancelledError("the client has left"); }

absl::Status MissingOption(const SelectionFolders& folders) {
  const char* option = folders.state.empty()    ? "--selection-state"
                       : folders.inputs.empty() ? "--input-root"
                       : folders.output.empty() ? "--output-root"
                                                : nullptr;
  if (option == nullptr && !folders.has_exact_bits) {
    return absl::FailedPreconditionError(
        "the server runs with --reduction fast, whose bits depend on its "
        "workers, so it has no selection jobs");
  }
  if (option == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the server was started without ", option,
                   ", so it has no selection jobs"));
}

}  // namespace

SelectionService::SelectionService(const FrontendContext& frontend)
    : frontend_(frontend),
      make_stream_scorer_([this](const DocumentCall& call) {
        return MakeMaskedScorer(frontend_, call.plan, call.scoring);
      }),
      metrics_(std::make_shared<SelectionMetrics>([this] {
        absl::MutexLock lock(&mutex_);
        return jobs_;
      })) {}

SelectionService::~SelectionService() = default;

absl::Status SelectionService::Start(const SelectionFolders& folders) {
  jobs_missing_ = MissingOption(folders);
  if (!jobs_missing_.ok()) return absl::OkStatus();
  temp_dir_ = folders.state;
  pools_ = std::make_unique<JobPools>();
  SelectionJobsOptions options;
  options.state_dir = folders.state;
  options.input_roots = folders.inputs;
  options.output_root = folders.output;
  options.make_scorer = [this](const JobManifest& manifest) {
    return MakeJobScorer(frontend_, manifest);
  };
  HEADWISE_ASSIGN_OR_RETURN(
      Jobs jobs, SelectionJobs::Open(std::move(options), frontend_.clock));
  absl::MutexLock lock(&mutex_);
  jobs_ = std::move(jobs);
  return absl::OkStatus();
}

void SelectionService::Stop() {
  Jobs jobs;
  std::vector<std::shared_ptr<JobStream>> watchers;
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(stopped_, true)) return;
    jobs = std::move(jobs_);
    for (const auto& [stream, watcher] : watchers_) {
      if (auto locked = watcher.lock()) watchers.push_back(std::move(locked));
    }
  }
  for (const auto& watcher : watchers) watcher->End(DrainingError());
}

absl::StatusOr<SelectionService::Jobs> SelectionService::FindJobs() const {
  HEADWISE_RETURN_IF_ERROR(jobs_missing_);
  absl::MutexLock lock(&mutex_);
  if (stopped_) return DrainingError();
  return jobs_;
}

grpc::ServerUnaryReactor* SelectionService::Run(
    const char* api, grpc::CallbackServerContext* context,
    std::function<absl::Status(SelectionJobs&)> work) {
  const Arrival arrival = Arrive(frontend_, api, *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [this, arrival, reactor](const absl::Status& status) {
    EndCall(frontend_, arrival, status);
    reactor->Finish(ToGrpcStatus(status));
  };
  std::shared_ptr<void> open = frontend_.open_calls.Count();
  absl::StatusOr<Jobs> jobs = FindJobs();
  absl::Status status = jobs.status();
  if (status.ok() && open == nullptr) status = DrainingError();
  if (status.ok()) {
    // The jobs are let go before the call counts as over.
    status =
        pools_->calls.Submit([open = std::move(open), jobs = *std::move(jobs),
                              finish, work = std::move(work)]() mutable {
          const absl::Status done = work(*jobs);
          jobs.reset();
          finish(done);
        });
  }
  if (!status.ok()) finish(status);
  return reactor;
}

template <typename Message>
grpc::ServerWriteReactor<Message>* SelectionService::RunLong(
    const char* api, grpc::CallbackServerContext* context,
    TaskPool JobPools::*pool,
    std::function<absl::Status(SelectionJobs&, WaitingStream<Message>&,
                               const std::atomic<bool>&)>
        work) {
  const Arrival arrival = Arrive(frontend_, api, *context);
  const auto stream = WaitingStream<Message>::Create();
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  stream->SetCancel([cancelled] { *cancelled = true; });
  const auto finish = [this, arrival, stream](const absl::Status& status) {
    EndCall(frontend_, arrival, status);
    stream->Close(status);
  };
  std::shared_ptr<void> open = frontend_.open_calls.Count();
  absl::StatusOr<Jobs> jobs = FindJobs();
  absl::Status status = jobs.status();
  if (status.ok() && open == nullptr) status = DrainingError();
  if (status.ok()) {
    status = (pools_.get()->*pool)
                 .Submit([this, open = std::move(open), jobs = *std::move(jobs),
                          stream, cancelled, finish,
                          work = std::move(work)]() mutable {
                   absl::Status done = work(*jobs, *stream, *cancelled);
                   jobs.reset();
                   if (absl::IsCancelled(done)) {
                     done = frontend_.open_calls.closed() ? DrainingError()
                                                          : LeftError();
                   }
                   finish(done);
                 });
  }
  if (!status.ok()) finish(status);
  return stream.get();
}

grpc::ServerBidiReactor<v1::ScoreDocumentsRequest, v1::ScoreDocumentsResponse>*
SelectionService::ScoreDocuments(grpc::CallbackServerContext* context) {
  absl::Status admission;
  // Counts itself down, wherever the stream ends.
  std::shared_ptr<void> place(
      num_streams_.get(),
      [num_streams = num_streams_](void*) { --*num_streams; });
  if (++*num_streams_ > kMaxDocumentStreams) {
    admission = absl::ResourceExhaustedError(
        absl::StrCat(kMaxDocumentStreams,
                     " streams of documents are open; no more are allowed"));
  }
  return DocumentStream::Start(
      {frontend_, make_stream_scorer_, *metrics_, documents_pool_},
      Arrive(frontend_, "selection_score", *context), admission,
      std::move(place));
}

grpc::ServerWriteReactor<v1::CreateJobResponse>* SelectionService::CreateJob(
    grpc::CallbackServerContext* context, const v1::CreateJobRequest* request) {
  return RunLong<v1::CreateJobResponse>(
      "selection_create", context, &JobPools::creates,
      [this, request](SelectionJobs& jobs,
                      WaitingStream<v1::CreateJobResponse>& stream,
                      const std::atomic<bool>& cancelled) {
        return CreateFromSpec(*request, jobs, stream, cancelled);
      });
}

absl::Status SelectionService::CreateFromSpec(
    const v1::CreateJobRequest& request, SelectionJobs& jobs,
    WaitingStream<v1::CreateJobResponse>& stream,
    const std::atomic<bool>& cancelled) {
  HEADWISE_ASSIGN_OR_RETURN(
      const JobSpec spec,
      ParseJobSpec(request.spec(), frontend_, frontend_.digest.Await()));
  absl::Time last = absl::InfinitePast();
  const auto progress = [&](int64_t bytes, int64_t of_bytes) {
    if (cancelled || frontend_.open_calls.closed()) return false;
    const absl::Time now = frontend_.clock.Now();
    if (now - last < kProgressInterval) return true;
    last = now;
    v1::CreateJobResponse message;
    message.mutable_input()->set_bytes(bytes);
    message.mutable_input()->set_total_bytes(of_bytes);
    return stream.Write(std::move(message));
  };
  const absl::StatusOr<JobStatus> job = jobs.Create(spec, progress);
  if (!job.ok()) return NameSpecField(job.status());
  v1::CreateJobResponse message;
  WriteJob(*job, message.mutable_job());
  // The job is there, whether or not the client hears of it.
  return stream.Write(std::move(message)) ? absl::OkStatus() : LeftError();
}

grpc::ServerUnaryReactor* SelectionService::RunOnJob(
    const char* api, grpc::CallbackServerContext* context,
    v1::SelectionJob* response,
    std::function<absl::StatusOr<JobStatus>(SelectionJobs&)> work) {
  return Run(
      api, context,
      [response, work = std::move(work)](SelectionJobs& jobs) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const JobStatus job, work(jobs));
        WriteJob(job, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SelectionService::GetJob(
    grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
    v1::SelectionJob* response) {
  return RunOnJob(
      "selection_get", context, response,
      [request](SelectionJobs& jobs) { return jobs.Get(request->job_id()); });
}

grpc::ServerUnaryReactor* SelectionService::PauseJob(
    grpc::CallbackServerContext* context, const v1::PauseJobRequest* request,
    v1::SelectionJob* response) {
  return RunOnJob("selection_pause", context, response,
                  [request](SelectionJobs& jobs) {
                    return jobs.Pause(request->job_id(), "paused by a client");
                  });
}

grpc::ServerUnaryReactor* SelectionService::ResumeJob(
    grpc::CallbackServerContext* context, const v1::ResumeJobRequest* request,
    v1::SelectionJob* response) {
  return RunOnJob("selection_resume", context, response,
                  [request](SelectionJobs& jobs) {
                    return jobs.Resume(request->job_id());
                  });
}

grpc::ServerUnaryReactor* SelectionService::CancelJob(
    grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
    v1::SelectionJob* response) {
  return RunOnJob("selection_cancel", context, response,
                  [request](SelectionJobs& jobs) {
                    return jobs.Cancel(request->job_id());
                  });
}

grpc::ServerUnaryReactor* SelectionService::ListJobs(
    grpc::CallbackServerContext* context, const v1::ListJobsRequest*,
    v1::ListJobsResponse* response) {
  return Run("selection_list", context,
             [response](SelectionJobs& jobs) -> absl::Status {
               HEADWISE_ASSIGN_OR_RETURN(const std::vector<JobStatus> list,
                                         jobs.List());
               for (const JobStatus& job : list) {
                 WriteJob(job, response->add_jobs());
               }
               return absl::OkStatus();
             });
}

grpc::ServerUnaryReactor* SelectionService::Quantiles(
    grpc::CallbackServerContext* context, const v1::QuantilesRequest* request,
    v1::QuantilesResponse* response) {
  return Run("selection_quantiles", context,
             [request, response](SelectionJobs& jobs) -> absl::Status {
               HEADWISE_ASSIGN_OR_RETURN(const std::vector<double> quantiles,
                                         ParseQuantiles(*request));
               HEADWISE_ASSIGN_OR_RETURN(const DomainSketches sketches,
                                         jobs.Sketches(request->job_id()));
               WriteQuantiles(sketches, quantiles, response);
               return absl::OkStatus();
             });
}

grpc::ServerWriteReactor<v1::TopKResponse>* SelectionService::TopK(
    grpc::CallbackServerContext* context, const v1::TopKRequest* request) {
  return RunLong<v1::TopKResponse>(
      "selection_top", context, &JobPools::tops,
      [this, request](SelectionJobs& jobs,
                      WaitingStream<v1::TopKResponse>& stream,
                      const std::atomic<bool>& cancelled) {
        return FindTop(*request, jobs, stream, cancelled);
      });
}

absl::Status SelectionService::FindTop(const v1::TopKRequest& request,
                                       SelectionJobs& jobs,
                                       WaitingStream<v1::TopKResponse>& stream,
                                       const std::atomic<bool>& cancelled) {
  HEADWISE_ASSIGN_OR_RETURN(TopOptions options, ParseTopK(request));
  HEADWISE_ASSIGN_OR_RETURN(const JobStatus job, jobs.Get(request.job_id()));
  if (job.state != JobState::kDone) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job.id, " is ", JobStateName(job.state),
                     "; its best rows are known when it is DONE"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<JobPart> parts,
                            jobs.Parts(job.id));
  std::vector<std::string> files;
  for (const JobPart& part : parts) {
    files.push_back(absl::StrCat(job.output_dir, "/", part.file));
  }
  options.temp_dir = temp_dir_;
  options.keep_going = [&] {
    return !cancelled && !frontend_.open_calls.closed();
  };
  v1::TopKResponse message;
  const auto send = [&] {
    return stream.Write(std::exchange(message, {})) ? absl::OkStatus()
                                                    : LeftError();
  };
  const auto take = [&](const TopRow& row) {
    WriteTopRow(row, message.add_rows());
    return message.rows_size() < kTopRowsOfMessage ? absl::OkStatus() : send();
  };
  HEADWISE_RETURN_IF_ERROR(FindTopRows(files, options, take).status());
  return message.rows().empty() ? absl::OkStatus() : send();
}

void SelectionService::Watch(const Jobs& jobs, absl::string_view id,
                             absl::Duration interval,
                             const std::shared_ptr<JobStream>& stream) {
  absl::StatusOr<std::unique_ptr<JobWatch>> watch =
      jobs->Watch(id, interval,
                  [stream](const JobStatus& status) { stream->Offer(status); });
  if (watch.ok()) {
    stream->Hold(*std::move(watch));
  } else {
    stream->End(watch.status());
  }
}

grpc::ServerWriteReactor<v1::SelectionJob>* SelectionService::WatchJob(
    grpc::CallbackServerContext* context, const v1::WatchJobRequest* request) {
  const Arrival arrival = Arrive(frontend_, "selection_watch", *context);
  const std::shared_ptr<JobStream> stream = JobStream::Create(
      [this, arrival](JobStream* ended, const absl::Status& status) {
        EndCall(frontend_, arrival, status);
        absl::MutexLock lock(&mutex_);
        watchers_.erase(ended);
      });
  absl::StatusOr<Jobs> jobs = FindJobs();
  const absl::StatusOr<absl::Duration> interval = ParseWatchInterval(*request);
  std::shared_ptr<void> open = frontend_.open_calls.Count();
  absl::Status status = jobs.status();
  status.Update(interval.status());
  if (open == nullptr) status.Update(DrainingError());
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    watchers_.emplace(stream.get(), stream);
    if (stopped_) status = DrainingError();
  }
  if (status.ok()) {
    status = pools_->calls.Submit(
        [this, open = std::move(open), jobs = *std::move(jobs), stream,
         id = request->job_id(), interval = *interval]() mutable {
          Watch(jobs, id, interval, stream);
          jobs.reset();
        });
  }
  if (!status.ok()) stream->End(status);
  return stream.get();
}

}  // namespace headwise
