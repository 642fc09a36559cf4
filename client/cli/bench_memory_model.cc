#include "client/cli/bench_memory_model.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cli/cluster_options.h"
#include "client/cli/embedded_cluster.h"

namespace headwise {
namespace {

constexpr absl::Duration kFreeTimeout = absl::Seconds(10);

// Collects what the engine says of one request.
class RecallSink final : public RequestSink {
 public:
  explicit RecallSink(std::function<void(int64_t)> on_rows)
      : on_rows_(std::move(on_rows)) {}

  void OnPrefill(int64_t processed, int64_t) override { on_rows_(processed); }
  bool OnToken(const SliceResult& outcome) override {
    token_ = outcome.token;
    return true;
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    status_ = status;
    done_.Notify();
  }

  absl::Status Wait() {
    done_.WaitForNotification();
    return status_;
  }
  int32_t token() const { return token_; }  // after Wait; -1: none

 private:
  const std::function<void(int64_t)> on_rows_;
  int32_t token_ = -1;
  absl::Status status_;
  absl::Notification done_;
};

// Of a row, all seeds together.
struct RowSums {
  int64_t num_tokens = 0;
  double prefill_seconds = 0;
  double read_seconds = 0;
  Sha256 outputs;
};

class RecallRun {
 public:
  RecallRun(Engine& engine, const RecallTask& task,
            const MemoryModelOptions& options,
            const std::function<int64_t()>& bytes_held)
      : engine_(engine),
        task_(task),
        options_(options),
        bytes_held_(bytes_held),
        contexts_(options.context_lens),
        depths_(options.depths) {
    std::sort(contexts_.begin(), contexts_.end());
    std::sort(depths_.begin(), depths_.end());
    for (const double depth : depths_) {
      for (const int64_t context : contexts_) {
        rows_.push_back(
            {.contender = "model", .context = context, .depth = depth});
      }
    }
    sums_ = std::vector<RowSums>(rows_.size());
  }
  ~RecallRun() { Drop(); }

  absl::StatusOr<std::vector<MemoryBenchRow>> Run() {
    const auto num_texts = static_cast<double>(options_.num_seeds) *
                           static_cast<double>(rows_.size());
    for (int64_t seed = 0; seed < options_.num_seeds; ++seed) {
      for (size_t row = 0; row < rows_.size(); ++row) {
        first_progress_ = static_cast<double>(seed) / options_.num_seeds +
                          static_cast<double>(row) / num_texts;
        progress_share_ = 1.0 / num_texts;
        HEADWISE_RETURN_IF_ERROR(RunText(seed, row));
      }
    }
    for (size_t i = 0; i < rows_.size(); ++i) {
      rows_[i].tokens_per_second =
          static_cast<double>(sums_[i].num_tokens) / sums_[i].prefill_seconds;
      rows_[i].seconds_per_read =
          sums_[i].read_seconds / static_cast<double>(rows_[i].num_tests);
      rows_[i].outputs_sha256 = Sha256Hex(sums_[i].outputs.Finish());
    }
    return std::move(rows_);
  }

 private:
  absl::Status RunText(int64_t seed, size_t row);
  // The engine then holds `tokens` as prefix_, until Drop.
  absl::Status Hold(std::vector<int32_t> tokens, RowSums& sums);
  int64_t BytesOfPrefix();
  absl::Status Ask(const std::vector<RecallPair>& pairs, size_t row);
  void Drop() {
    if (prefix_ != 0) engine_.Release(std::exchange(prefix_, 0));
  }

  Engine& engine_;
  const RecallTask& task_;
  const MemoryModelOptions& options_;
  const std::function<int64_t()>& bytes_held_;
  std::vector<int64_t> contexts_;
  std::vector<double> depths_;
  std::vector<MemoryBenchRow> rows_;  // [depths][contexts]
  std::vector<RowSums> sums_;         // of each row
  uint64_t prefix_ = 0;               // 0: none
  double first_progress_ = 0;         // of this text
  double progress_share_ = 0;
};

absl::Status RecallRun::Hold(std::vector<int32_t> tokens, RowSums& sums) {
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  EngineRequest request;
  request.request_id = "bench-memory";
  request.kind = WorkKind::kPrefix;
  request.prompt = std::move(tokens);
  const auto sink =
      std::make_shared<RecallSink>([this, num_tokens](int64_t done) {
        options_.on_progress(first_progress_ +
                             progress_share_ * static_cast<double>(done) /
                                 static_cast<double>(num_tokens));
      });
  const absl::Time start = Clock::Monotonic().Now();
  HEADWISE_ASSIGN_OR_RETURN(prefix_, engine_.Submit(std::move(request), sink));
  HEADWISE_RETURN_IF_ERROR(sink->Wait());
  sums.prefill_seconds +=
      absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
  sums.num_tokens += num_tokens;
  return absl::OkStatus();
}

absl::Status RecallRun::Ask(const std::vector<RecallPair>& pairs, size_t row) {
  absl::Status status;
  std::vector<std::shared_ptr<RecallSink>> sinks;
  const absl::Time start = Clock::Monotonic().Now();
  for (const RecallPair& pair : pairs) {
    EngineRequest request;
    request.request_id = "bench-memory";
    request.fork_from = prefix_;
    request.prompt = {pair.key};
    request.max_new_tokens = 1;
    auto sink = std::make_shared<RecallSink>([](int64_t) {});
    status = engine_.Submit(std::move(request), sink).status();
    if (!status.ok()) break;
    sinks.push_back(std::move(sink));
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    status.Update(sinks[i]->Wait());
    const int32_t token = sinks[i]->token();
    rows_[row].num_hits += token == pairs[i].value ? 1 : 0;
    sums_[row].outputs.Update(
        {reinterpret_cast<const uint8_t*>(&token), sizeof(token)});
  }
  rows_[row].num_tests += static_cast<int64_t>(pairs.size());
  sums_[row].read_seconds +=
      absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
  return status;
}

// What the text before held is freed by a step that nobody hears of: until it
// has run, workers hold more than what is promised to the prefix alone.
int64_t RecallRun::BytesOfPrefix() {
  const absl::Time end = Clock::Monotonic().Now() + kFreeTimeout;
  int64_t held = bytes_held_();
  while (Clock::Monotonic().Now() < end) {
    const EngineStats stats = engine_.stats();
    const int64_t promised = std::accumulate(
        stats.kv_bytes_used.begin(), stats.kv_bytes_used.end(), int64_t{0});
    held = bytes_held_();
    if (stats.held == 1 && stats.running + stats.waiting == 0 &&
        held <= promised) {
      break;
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  return held;
}

absl::Status RecallRun::RunText(int64_t seed, size_t row) {
  RecallText text =
      MakeRecallText(task_, options_.haystack,
                     {.num_needles = options_.num_needles,
                      .context_len = rows_[row].context,
                      .depth = rows_[row].depth,
                      .spread = options_.spread,
                      .seed = options_.seed + static_cast<uint64_t>(seed)});
  HEADWISE_RETURN_IF_ERROR(Hold(std::move(text.tokens), sums_[row]));
  rows_[row].state_bytes = BytesOfPrefix();
  const absl::Status status = Ask(text.pairs, row);
  Drop();
  return status;
}

absl::Status CheckOptions(const RecallTask& task,
                          const MemoryModelOptions& options) {
  const int64_t most = std::min<int64_t>(task.keys.size(), options.spread / 2);
  if (options.num_needles >= 1 && options.num_needles <= most) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "needles: ", options.num_needles, " is outside [1, ", most,
      "]: the model has ", task.keys.size(), " keys, and a spread of ",
      options.spread, " tokens has room for ", options.spread / 2, " pairs"));
}

}  // namespace

absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryModel(
    Engine& engine, const RecallTask& task, const MemoryModelOptions& options,
    const std::function<int64_t()>& bytes_held) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(task, options));
  return RecallRun(engine, task, options, bytes_held).Run();
}

absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryModelBench(
    const ClusterFlags& flags, const MemoryModelOptions& options) {
  HEADWISE_ASSIGN_OR_RETURN(const EmbeddedClusterOptions cluster_options,
                            ClusterOptionsOf(flags));
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddedCluster> cluster,
                            EmbeddedCluster::Create(cluster_options));
  HEADWISE_ASSIGN_OR_RETURN(
      const RecallTask task,
      ReadRecallTask(flags.model,
                     cluster->model().hyperparameters().vocab_size));
  return RunMemoryModel(cluster->engine(), task, options, [&cluster] {
    const std::vector<int64_t> ranks = cluster->kv_bytes_used();
    return std::accumulate(ranks.begin(), ranks.end(), int64_t{0});
  });
}

}  // namespace headwise
