#include "server/frontends/calibration_service.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "server/frontends/calibration_writer.h"
#include "server/frontends/request_parser.h"

namespace headwise {
namespace {

// All but the digest.
ModelFacts FactsOf(const FrontendContext& frontend) {
  const Hyperparameters& hyper = frontend.model.model->hyperparameters();
  ModelFacts facts;
  facts.num_layers = hyper.num_layers;
  facts.num_heads = hyper.num_heads;
  facts.num_kv_heads = hyper.num_kv_heads;
  facts.max_context_len = std::min(
      hyper.max_context_len, frontend.cluster.head_map()->max_context_len);
  return facts;
}

}  // namespace

CalibrationService::~CalibrationService() {
  std::thread thread;
  {
    absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void CalibrationService::Close(const Arrival& arrival,
                               const absl::Status& status,
                               CalibrationStream& stream) {
  EndCall(frontend_, arrival, status);
  stream.Close(status);
}

grpc::ServerWriteReactor<v1::CalibrateResponse>* CalibrationService::Calibrate(
    grpc::CallbackServerContext* context, const v1::CalibrateRequest* request) {
  const Arrival arrival = Arrive(frontend_, "calibrate", *context);
  const std::shared_ptr<CalibrationStream> stream = CalibrationStream::Create();
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  absl::StatusOr<CalibrationCall> call =
      status.ok() ? ParseCalibrateRequest(*request)
                  : absl::StatusOr<CalibrationCall>(status);
  if (!call.ok()) {
    Close(arrival, call.status(), *stream);
    return stream.get();
  }
  EngineRunnerOptions options;
  options.facts = FactsOf(frontend_);
  options.request_id = arrival.request_id;
  options.deadline = arrival.deadline;
  options.count_call =
      [&open_calls = frontend_.open_calls](std::shared_ptr<RequestSink> sink) {
        return open_calls.Count(std::move(sink));
      };
  auto runner =
      std::make_shared<EngineModelRunner>(frontend_.engine, std::move(options));
  // Before the thread: it may be done, and the stream with it, when this
  // returns.
  stream->SetCancel([runner] { runner->Cancel(); });
  std::shared_ptr<void> open = frontend_.open_calls.Count();
  if (open == nullptr) {
    status = DrainingError();
  } else if (!Start({arrival, *std::move(call), stream, std::move(runner),
                     std::move(open)})) {
    status = absl::ResourceExhaustedError(
        "another calibration runs; this server runs one at a time");
  }
  if (!status.ok()) Close(arrival, status, *stream);
  return stream.get();
}

bool CalibrationService::Start(Job job) {
  absl::MutexLock lock(&mutex_);
  if (running_) return false;
  // It has nothing left to do but to return.
  if (thread_.joinable()) thread_.join();
  running_ = true;
  thread_ = std::thread([this, job = std::move(job)] { Run(job); });
  return true;
}

void CalibrationService::Run(const Job& job) {
  absl::StatusOr<v1::CalibrateResponse> result = RunMethod(job);
  absl::Status status = result.status();
  if (status.ok() &&
      !(job.stream->Write(*std::move(result)) && job.stream->Flush())) {
    status = absl::CancelledError("the client has left");
  }
  // Before the client hears of the end: it may come again at once.
  {
    absl::MutexLock lock(&mutex_);
    running_ = false;
  }
  Close(job.arrival, status, *job.stream);
}

absl::StatusOr<v1::CalibrateResponse> CalibrationService::RunMethod(
    const Job& job) {
  const auto go_on = [&](double) { return !job.runner->cancelled(); };
  if (!frontend_.model.model->ReadSha256(go_on)) {
    return absl::CancelledError("the client has left");
  }
  job.runner->set_sha256(frontend_.model.model->Sha256());
  HEADWISE_ASSIGN_OR_RETURN(
      const std::unique_ptr<CalibrationMethod> method,
      MakeMethod(job.call, job.runner->facts(), *frontend_.model.tokenizer));
  CalibrationEvents events;
  events.on_started = [&](const std::string& manifest,
                          const CalibrationProgress& progress) {
    v1::CalibrateResponse message;
    WriteStarted(manifest, progress, message.mutable_started());
    job.stream->Write(std::move(message));
  };
  events.on_test = [&](const TestRecord& record,
                       const CalibrationProgress& progress,
                       const HeadScores* scores) {
    v1::CalibrateResponse message;
    WriteTest(record, progress, scores, message.mutable_test());
    job.stream->Write(std::move(message));
  };
  HEADWISE_ASSIGN_OR_RETURN(
      const CalibrationOutcome outcome,
      headwise::Calibrate(*method, job.call.finished, events, frontend_.clock,
                          *job.runner));
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan,
                            PlanFromScores(outcome.scores, job.call.rule));
  v1::CalibrateResponse message;
  WriteResult(outcome, plan, message.mutable_result());
  return message;
}

}  // namespace headwise
