#include "server/calibration/engine_model_runner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

absl::Status CancelledStatus() {
  return absl::CancelledError("the calibration was cancelled");
}

// How many requests of one Run the engine holds.
class OpenRequests {
 public:
  void Add() {
    absl::MutexLock lock(&mutex_);
    ++num_open_;
  }
  void Remove() {
    absl::MutexLock lock(&mutex_);
    --num_open_;
  }
  void AwaitBelow(int64_t limit) {
    absl::MutexLock lock(&mutex_);
    const auto below = [this, limit]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return num_open_ < limit;
    };
    mutex_.Await(absl::Condition(&below));
  }

 private:
  absl::Mutex mutex_;
  int64_t num_open_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

// Collects what the engine says of one request. What it has may be taken once
// `open` says that the request has ended.
class EngineModelRunner::Sink final : public RequestSink {
 public:
  Sink(OpenRequests* open, int64_t num_rows, const ProbeRequest& probe)
      : open_(open),
        num_rows_(num_rows),
        num_sets_(probe.distance_sets.size()),
        wants_probes_(!probe.empty()),
        wants_argmax_(probe.argmax) {}

  bool OnToken(const SliceResult& outcome) override {
    result_.generated.push_back(outcome.token);
    return true;
  }
  void OnRows(int64_t, const SliceResult& outcome) override {
    result_.logprobs.insert(result_.logprobs.end(),
                            outcome.score_logprobs.begin(),
                            outcome.score_logprobs.end());
    result_.hidden.insert(result_.hidden.end(), outcome.hidden.begin(),
                          outcome.hidden.end());
    if (wants_probes_) slices_.push_back(outcome.probes);
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    status_ = status;
    open_->Remove();
  }

  const absl::Status& status() const { return status_; }
  // Internal if rows or heads are missing: a score must not look right then.
  absl::StatusOr<ContinuationResult> Take(Continuation::Want want,
                                          int64_t num_probed_heads);

 private:
  absl::Status JoinProbes(size_t num_heads);

  OpenRequests* const open_;
  const int64_t num_rows_;
  const size_t num_sets_;
  const bool wants_probes_;
  const bool wants_argmax_;
  absl::Status status_;
  ContinuationResult result_;
  // Of each slice, in order of position: by layer, then by head.
  std::vector<std::vector<HeadProbe>> slices_;
};

absl::Status EngineModelRunner::Sink::JoinProbes(size_t num_heads) {
  result_.probes.resize(num_heads);
  for (const std::vector<HeadProbe>& slice : slices_) {
    if (slice.size() != num_heads) {
      return absl::InternalError(absl::StrCat("a slice has probes of ",
                                              slice.size(), " heads, not of ",
                                              num_heads));
    }
  }
  for (size_t head = 0; head < num_heads; ++head) {
    HeadProbe& joined = result_.probes[head];
    for (const std::vector<HeadProbe>& slice : slices_) {
      const HeadProbe& part = slice[head];
      joined.layer = part.layer;
      joined.head = part.head;
      joined.argmax.insert(joined.argmax.end(), part.argmax.begin(),
                           part.argmax.end());
      joined.argmax_prob.insert(joined.argmax_prob.end(),
                                part.argmax_prob.begin(),
                                part.argmax_prob.end());
    }
    // A set's rows lie together, of each slice and of all.
    for (size_t set = 0; set < num_sets_; ++set) {
      for (const std::vector<HeadProbe>& slice : slices_) {
        const std::vector<float>& probs = slice[head].distance_probs;
        const size_t rows = probs.size() / num_sets_;
        const auto begin =
            probs.begin() + static_cast<std::ptrdiff_t>(set * rows);
        joined.distance_probs.insert(joined.distance_probs.end(), begin,
                                     begin + static_cast<std::ptrdiff_t>(rows));
      }
    }
    const auto rows = static_cast<size_t>(num_rows_);
    if (joined.distance_probs.size() != num_sets_ * rows ||
        joined.argmax.size() != (wants_argmax_ ? rows : 0)) {
      return absl::InternalError(absl::StrCat(
          "probes came of ", joined.argmax.size(), " rows and of ",
          joined.distance_probs.size(), " rows and sets, ", num_sets_,
          " sets of ", num_rows_, " rows were asked for"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ContinuationResult> EngineModelRunner::Sink::Take(
    Continuation::Want want, int64_t num_probed_heads) {
  if (want == Continuation::Want::kLogprobs) {
    if (static_cast<int64_t>(result_.logprobs.size()) != num_rows_) {
      return absl::InternalError(absl::StrCat(
          "scored ", result_.logprobs.size(), " of ", num_rows_, " rows"));
    }
    result_.logprobs.pop_back();  // nothing follows the last token
  }
  if (wants_probes_) {
    HEADWISE_RETURN_IF_ERROR(JoinProbes(static_cast<size_t>(num_probed_heads)));
  }
  return std::move(result_);
}

EngineModelRunner::~EngineModelRunner() {
  for (const uint64_t prefix : held_) engine_.Release(prefix);
}

void EngineModelRunner::Cancel() {
  std::set<uint64_t> in_flight;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    in_flight.swap(in_flight_);
  }
  for (const uint64_t request : in_flight) engine_.Cancel(request);
}

bool EngineModelRunner::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

void EngineModelRunner::Forget(uint64_t request) {
  absl::MutexLock lock(&mutex_);
  in_flight_.erase(request);
}

absl::StatusOr<uint64_t> EngineModelRunner::Submit(EngineRequest request,
                                                   std::shared_ptr<Sink> sink) {
  if (cancelled()) return CancelledStatus();
  request.request_id = options_.request_id;
  request.deadline = options_.deadline;
  std::shared_ptr<RequestSink> counted = std::move(sink);
  if (options_.count_call) counted = options_.count_call(std::move(counted));
  if (counted == nullptr) {
    return absl::UnavailableError("the server is draining: it will shut down");
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const uint64_t id,
      engine_.Submit(std::move(request), std::move(counted)));
  bool late = false;
  {
    absl::MutexLock lock(&mutex_);
    late = cancelled_;
    if (!late) in_flight_.insert(id);
  }
  if (late) engine_.Cancel(id);
  return id;
}

absl::StatusOr<uint64_t> EngineModelRunner::Hold(
    absl::Span<const int32_t> tokens) {
  OpenRequests open;
  EngineRequest request;
  request.kind = WorkKind::kPrefix;
  request.prompt.assign(tokens.begin(), tokens.end());
  const auto sink = std::make_shared<Sink>(
      &open, static_cast<int64_t>(tokens.size()), ProbeRequest());
  open.Add();
  HEADWISE_ASSIGN_OR_RETURN(const uint64_t id,
                            Submit(std::move(request), sink));
  open.AwaitBelow(1);
  Forget(id);
  HEADWISE_RETURN_IF_ERROR(sink->status());
  held_.insert(id);
  return id;
}

void EngineModelRunner::Release(uint64_t prefix) {
  held_.erase(prefix);
  engine_.Release(prefix);
}

EngineRequest EngineModelRunner::RequestFor(const Continuation& one) {
  EngineRequest request;
  request.prompt = one.tokens;
  request.fork_from = one.prefix;
  request.plan = one.plan;
  request.probe = one.probe;
  switch (one.want) {
    case Continuation::Want::kLogprobs:
      request.kind = WorkKind::kScore;
      break;
    case Continuation::Want::kHidden:
      request.kind = WorkKind::kEmbed;
      break;
    case Continuation::Want::kTokens:
      request.kind = WorkKind::kGenerate;
      request.max_new_tokens = one.num_tokens;
      break;
  }
  return request;
}

absl::StatusOr<std::vector<ContinuationResult>> EngineModelRunner::Run(
    std::vector<Continuation> work) {
  OpenRequests open;
  absl::Status status;
  std::vector<std::shared_ptr<Sink>> sinks;
  std::vector<uint64_t> ids;
  for (const Continuation& one : work) {
    open.AwaitBelow(options_.max_in_flight);
    auto sink = std::make_shared<Sink>(
        &open, static_cast<int64_t>(one.tokens.size()), one.probe);
    open.Add();
    const absl::StatusOr<uint64_t> id = Submit(RequestFor(one), sink);
    if (!id.ok()) {
      open.Remove();
      status = id.status();
      break;
    }
    ids.push_back(*id);
    sinks.push_back(std::move(sink));
  }
  open.AwaitBelow(1);  // sinks refer to it
  for (const uint64_t id : ids) Forget(id);
  // The first that failed says why, not what was refused because of it.
  for (const auto& sink : sinks) HEADWISE_RETURN_IF_ERROR(sink->status());
  HEADWISE_RETURN_IF_ERROR(status);
  std::vector<ContinuationResult> results;
  for (size_t i = 0; i < sinks.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(
        ContinuationResult result,
        sinks[i]->Take(work[i].want, options_.facts.all_heads()));
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace headwise
