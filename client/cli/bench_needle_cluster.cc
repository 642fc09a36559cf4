#include "client/cli/bench_needle_cluster.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cli/bench_needle_runner.h"
#include "client/cli/bench_needle_state.h"
#include "client/cli/bench_runner.h"
#include "client/cli/cluster_options.h"
#include "client/cli/embedded_cluster.h"
#include "client/cli/process_memory.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/kv_forecast.h"
#include "model/head_plan/rotary_reach.h"
#include "nlohmann/json.hpp"
#include "server/scheduler/kv_needs.h"

namespace headwise {
namespace {

// Of the memory that is available: for weights and KV, the rest for all else.
constexpr double kMemoryShare = 0.9;
// Nobody is remote, and an engine that answers late is what a bench is for.
constexpr absl::Duration kStepTimeout = absl::Minutes(10);

// One context under one plan.
struct PlannedRun {
  size_t context = 0;  // index
  bool is_baseline = false;
  NeedleRunOptions options;
  int64_t peak_kv_bytes = 0;
};

class NeedleBench {
 public:
  explicit NeedleBench(const NeedleBenchOptions& options) : options_(options) {}

  absl::StatusOr<std::vector<NeedleContextReport>> Run();

 private:
  absl::Status Open();
  std::string Manifest() const;
  absl::Status MakeTasks();
  absl::Status PlanRuns();
  absl::StatusOr<PlannedRun> PlanRun(size_t context, bool is_baseline,
                                     const KvNeeds& needs) const;
  absl::Status OpenCluster();
  absl::StatusOr<NeedleRunReport> RunOne(const PlannedRun& run);
  NeedleRunReport Report(const PlannedRun& run, const NeedleOutcome& outcome);
  void Forecast(const PlannedRun& run, NeedleRunReport* report);

  const NeedleBenchOptions& options_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  KvType kv_type_ = KvType::kFp16;
  std::vector<NeedleTask> tasks_;  // [contexts]
  std::vector<PlannedRun> runs_;
  std::optional<NeedleState> state_;
  std::unique_ptr<EmbeddedCluster> cluster_;
  int64_t most_kv_bytes_ = 0;  // of the runs so far
  int64_t planned_tokens_ = 0;
  int64_t done_tokens_ = 0;  // of the engine's thread while a task runs
};

absl::Status NeedleBench::Open() {
  HEADWISE_ASSIGN_OR_RETURN(kv_type_, ParseKvType(options_.cluster.kv_type));
  HEADWISE_ASSIGN_OR_RETURN(model_, Model::Open(options_.cluster.model));
  HEADWISE_ASSIGN_OR_RETURN(tokenizer_,
                            Tokenizer::Create(model_->tokenizer_data()));
  return absl::OkStatus();
}

// What answers depend on, so the same for every machine and any contexts.
std::string NeedleBench::Manifest() const {
  const std::string& haystack = options_.task.haystack;
  return nlohmann::ordered_json{
      {"model_sha256", model_->Sha256()},
      {"plan_sha256",
       options_.plan == nullptr ? "" : HeadPlanHash(*options_.plan)},
      {"kv_type", KvTypeName(kv_type_)},
      {"needle", options_.task.kind == NeedleKind::kWord ? "word" : "passkey"},
      {"haystack_sha256",
       Sha256Hex(Sha256Of({reinterpret_cast<const uint8_t*>(haystack.data()),
                           haystack.size()}))},
      {"depths", options_.task.num_depths},
      {"seeds", options_.task.num_seeds}}
      .dump();
}

absl::Status NeedleBench::MakeTasks() {
  const int64_t trained_len = model_->hyperparameters().max_context_len;
  const int64_t longest = options_.plan == nullptr
                              ? trained_len
                              : LongestContext(*options_.plan, trained_len);
  for (const int64_t context_len : options_.context_lens) {
    if (context_len > longest) {
      return absl::InvalidArgumentError(absl::StrCat(
          "context: ", context_len, " positions; the model has ", trained_len,
          ", and more only under a plan whose every unit renumbers positions "
          "within them; this one allows ",
          longest));
    }
    NeedleTaskOptions task = options_.task;
    task.context_len = context_len;
    HEADWISE_ASSIGN_OR_RETURN(tasks_.emplace_back(),
                              MakeNeedleTask(*tokenizer_, task));
  }
  return absl::OkStatus();
}

// As many tests at one time as memory has room for, one at least.
absl::StatusOr<PlannedRun> NeedleBench::PlanRun(size_t context,
                                                bool is_baseline,
                                                const KvNeeds& needs) const {
  const NeedleTask& task = tasks_[context];
  PlannedRun run = {.context = context, .is_baseline = is_baseline};
  if (!is_baseline) run.options.plan = options_.plan;
  run.options.shares_text =
      !options_.independent &&
      MayShareText(task, run.options.plan.get(), kv_type_);
  const int64_t available = static_cast<int64_t>(
      kMemoryShare * static_cast<double>(AvailableMemoryBytes()));
  const int64_t budget = available - model_->file_bytes();
  int64_t parallel =
      options_.parallel > 0 ? options_.parallel : options_.task.num_seeds;
  while (true) {
    run.options.parallel = parallel;
    run.peak_kv_bytes = PeakKvBytes(task, run.options, needs);
    if (run.peak_kv_bytes <= budget) return run;
    if (options_.parallel > 0 || parallel == 1) break;
    --parallel;
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "context ", options_.context_lens[context], " with ", parallel,
      " tests at a time needs ", run.peak_kv_bytes,
      " bytes of KV; the machine has ", budget, " beside the weights"));
}

absl::Status NeedleBench::PlanRuns() {
  const KvNeeds needs(KvGeometryOf(model_->hyperparameters(), kv_type_), {});
  const int64_t trained_len = model_->hyperparameters().max_context_len;
  for (size_t context = 0; context < tasks_.size(); ++context) {
    for (const bool is_baseline : {false, true}) {
      if (is_baseline && (!options_.baseline ||
                          options_.context_lens[context] > trained_len)) {
        continue;
      }
      HEADWISE_ASSIGN_OR_RETURN(PlannedRun run,
                                PlanRun(context, is_baseline, needs));
      if (state_) {
        HEADWISE_ASSIGN_OR_RETURN(run.options.done,
                                  state_->Known(options_.context_lens[context],
                                                is_baseline, tasks_[context]));
      }
      planned_tokens_ += PlannedPromptTokens(
          tasks_[context], run.options.shares_text, run.options.done);
      runs_.push_back(std::move(run));
    }
  }
  return absl::OkStatus();
}

// Ends with the cluster's creation, whoever still holds the hook.
class LoadingHook {
 public:
  explicit LoadingHook(std::function<void(double)> hook)
      : hook_(std::move(hook)) {}
  void Tell(double fraction) {
    absl::MutexLock lock(&mutex_);
    if (hook_) hook_(fraction);
  }
  void End() {
    absl::MutexLock lock(&mutex_);
    hook_ = nullptr;
  }

 private:
  absl::Mutex mutex_;
  std::function<void(double)> hook_ ABSL_GUARDED_BY(mutex_);
};

absl::Status NeedleBench::OpenCluster() {
  HEADWISE_ASSIGN_OR_RETURN(EmbeddedClusterOptions cluster,
                            ClusterOptionsOf(options_.cluster));
  cluster.step_timeout = kStepTimeout;
  cluster.group_timeout = kStepTimeout;
  int64_t most = 0;
  for (const PlannedRun& run : runs_) most = std::max(most, run.peak_kv_bytes);
  // A limit is shared out by units, but under a plan some need far more than
  // others. What is run is bounded by `parallel`, so let each rank have it all.
  const Hyperparameters& hyper = model_->hyperparameters();
  cluster.kv_capacity_bytes = most * hyper.num_layers * hyper.num_kv_heads;
  const auto hook = std::make_shared<LoadingHook>(options_.on_loading);
  cluster.on_progress = [hook](double fraction) { hook->Tell(fraction); };
  absl::StatusOr<std::unique_ptr<EmbeddedCluster>> opened =
      EmbeddedCluster::Create(cluster);
  hook->End();
  HEADWISE_ASSIGN_OR_RETURN(cluster_, std::move(opened));
  return absl::OkStatus();
}

// Of one sequence as long as the one that was measured.
void NeedleBench::Forecast(const PlannedRun& run, NeedleRunReport* report) {
  const auto group = cluster_->status().group;
  if (group == nullptr) return;
  const HeadPlan full = DefaultHeadPlan(model_->hyperparameters(), "");
  KvForecastOptions options;
  options.kv_type = kv_type_;
  options.head_dim = model_->hyperparameters().kv_head_dim();
  options.unit_state_bytes = model_->hyperparameters().unit_state_bytes();
  options.context_len = report->kv_length;
  options.prompt_len = report->prefill_tokens;
  options.unit_rank = group->kv_capacity.unit_rank;
  const KvForecast forecast = ForecastKv(
      run.options.plan == nullptr ? full : *run.options.plan, options);
  for (const KvBytes& rank : forecast.ranks) {
    report->kv_forecast_bytes.push_back(rank.held);
  }
  report->kv_forecast_bytes.resize(group->prepared.size(), 0);
  report->kv_full_bytes = forecast.full.held;
  for (const PreparedShard& shard : group->prepared) {
    report->weight_bytes += shard.weight_bytes;
  }
}

NeedleRunReport NeedleBench::Report(const PlannedRun& run,
                                    const NeedleOutcome& outcome) {
  const NeedleTask& task = tasks_[run.context];
  NeedleRunReport report;
  for (size_t i = 0; i < task.depths.size(); ++i) {
    report.depths.push_back(
        {.depth = task.depths[i], .position = task.cuts[i]});
  }
  for (size_t i = 0; i < task.tests.size(); ++i) {
    const NeedleTest& test = task.tests[i];
    NeedleDepth& depth = report.depths[static_cast<size_t>(test.depth_index)];
    ++depth.num_tests;
    const std::string answer = AnswerText(*tokenizer_, outcome.generated[i]);
    if (absl::StrContains(answer, test.answer)) continue;
    depth.misses.push_back({test.seed, test.answer, answer});
  }
  report.shares_text = run.options.shares_text;
  report.parallel = run.options.parallel;
  report.prompt_tokens_run = outcome.prompt_tokens_run;
  report.prompt_tokens_independent =
      PlannedPromptTokens(task, /*shares_text=*/false);
  report.prefill_tokens = outcome.timing.prefill_tokens;
  report.prefill_seconds = outcome.timing.prefill_seconds;
  report.median_token_seconds = Median(outcome.timing.token_seconds);
  report.kv_length = outcome.timing.kv_length;
  report.kv_held_bytes = outcome.timing.kv_bytes_held;
  // The process keeps what runs before this one took.
  most_kv_bytes_ = std::max(most_kv_bytes_, run.peak_kv_bytes);
  report.peak_kv_forecast_bytes = most_kv_bytes_;
  Forecast(run, &report);
  return report;
}

absl::StatusOr<NeedleRunReport> NeedleBench::RunOne(const PlannedRun& run) {
  NeedleRunOptions options = run.options;
  options.on_rows = [this](int64_t num_tokens) {
    done_tokens_ += num_tokens;
    options_.on_progress(static_cast<double>(done_tokens_) /
                         static_cast<double>(planned_tokens_));
  };
  if (state_) {
    const int64_t context_len = options_.context_lens[run.context];
    options.on_test = [this, context_len, is_baseline = run.is_baseline](
                          size_t test, const NeedleOutcome& outcome) {
      return state_->Add(context_len, is_baseline, test, outcome);
    };
  }
  options.kv_bytes_held = [this] { return cluster_->kv_bytes_used(); };
  StartPeak();
  const int64_t loaded = ResidentBytes();
  HEADWISE_ASSIGN_OR_RETURN(
      const NeedleOutcome outcome,
      RunNeedleTask(cluster_->engine(), tasks_[run.context], options));
  NeedleRunReport report = Report(run, outcome);
  report.peak_resident_bytes = PeakResidentBytes();
  report.loaded_resident_bytes = loaded;
  return report;
}

absl::StatusOr<std::vector<NeedleContextReport>> NeedleBench::Run() {
  HEADWISE_RETURN_IF_ERROR(Open());
  HEADWISE_RETURN_IF_ERROR(MakeTasks());
  if (!options_.state.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(state_,
                              NeedleState::Open(options_.state, Manifest()));
  }
  HEADWISE_RETURN_IF_ERROR(PlanRuns());
  HEADWISE_RETURN_IF_ERROR(OpenCluster());
  std::vector<NeedleContextReport> reports;
  for (const int64_t context_len : options_.context_lens) {
    reports.push_back({.context_len = context_len});
  }
  for (const PlannedRun& run : runs_) {
    HEADWISE_ASSIGN_OR_RETURN(NeedleRunReport report, RunOne(run));
    NeedleContextReport& context = reports[run.context];
    if (run.is_baseline) {
      context.baseline = std::move(report);
    } else {
      context.run = std::move(report);
    }
  }
  return reports;
}

}  // namespace

absl::StatusOr<std::vector<NeedleContextReport>> RunNeedleBench(
    const NeedleBenchOptions& options) {
  return NeedleBench(options).Run();
}

}  // namespace headwise
