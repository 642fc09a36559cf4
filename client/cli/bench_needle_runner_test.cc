#include "client/cli/bench_needle_runner.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/embedded_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/head_plan/head_plan_check.h"
#include "model/tokenizer/tokenizer.h"

namespace headwise {
namespace {

constexpr UnitPolicy kStreaming = {
    .kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 100};
constexpr UnitPolicy kLongHeads = {
    .kind = PolicyKind::kLongHeads, .chunk_len = 64, .num_chunks = 4};
constexpr UnitPolicy kRazor = {.kind = PolicyKind::kRazor,
                               .num_sinks = 4,
                               .window = 100,
                               .full_prompt = false};

// A tiny model of four units on two workers, in a folder of its own.
class BenchNeedleRunnerTest : public testing::Test {
 protected:
  BenchNeedleRunnerTest()
      : folder_(absl::StrCat(testing::TempDir(), "/needle_runner_", getpid())) {
    std::filesystem::create_directories(folder_);
    TinyModelOptions model;
    model.max_context_len = 2048;
    EXPECT_TRUE(WriteFile(folder_ + "/m.gguf", WriteTinyGguf(model)).ok());
    EmbeddedClusterOptions options;
    options.model_path = folder_ + "/m.gguf";
    options.num_workers = 2;
    options.threads = 1;
    options.kv_capacity_bytes = 16 << 20;
    cluster_ = EmbeddedCluster::Create(options).value();
    tokenizer_ = Tokenizer::Create(cluster_->model().tokenizer_data()).value();
    task_ =
        MakeNeedleTask(*tokenizer_,
                       {.context_len = 900, .num_depths = 4, .num_seeds = 2})
            .value();
  }
  ~BenchNeedleRunnerTest() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const HeadPlan> Plan(std::vector<UnitPolicy> units) {
    HeadPlan plan = DefaultHeadPlan(cluster_->model().hyperparameters(),
                                    std::string(64, 'a'));
    plan.units = std::move(units);
    return std::make_shared<const HeadPlan>(std::move(plan));
  }

  NeedleOutcome Run(const NeedleRunOptions& options) {
    return RunNeedleTask(cluster_->engine(), task_, options).value();
  }

  // Prefixes of a chain go one step after the other.
  bool HoldsNothing() const {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (absl::Now() < end) {
      const EngineStats stats = cluster_->engine().stats();
      if (stats.held + stats.running + stats.waiting == 0) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }

  KvNeeds Needs() const {
    const ModelShape& shape = cluster_->shape();
    return KvNeeds({.num_layers = shape.num_layers,
                    .num_kv_heads = shape.num_units,
                    .heads_per_kv_head = shape.heads_per_kv_head,
                    .head_dim = shape.head_dim},
                   {});
  }

  const std::string folder_;
  std::unique_ptr<EmbeddedCluster> cluster_;
  std::unique_ptr<Tokenizer> tokenizer_;
  NeedleTask task_;
};

TEST_F(BenchNeedleRunnerTest, SharedTextGivesTheAnswersOfWholePrompts) {
  for (const auto& plan : {std::shared_ptr<const HeadPlan>(),
                           Plan({{}, kStreaming, kLongHeads, kStreaming})}) {
    int64_t rows = 0;
    NeedleRunOptions options = {.plan = plan, .parallel = 2};
    options.on_rows = [&](int64_t count) { rows += count; };
    ASSERT_TRUE(MayShareText(task_, plan.get(), KvType::kFp16));
    const NeedleOutcome shared = Run(options);
    EXPECT_EQ(shared.prompt_tokens_run, PlannedPromptTokens(task_, true));
    EXPECT_EQ(rows, shared.prompt_tokens_run);
    options.shares_text = false;
    options.parallel = 3;
    const NeedleOutcome whole = Run(options);
    EXPECT_EQ(whole.generated, shared.generated);
    EXPECT_EQ(whole.prompt_tokens_run, PlannedPromptTokens(task_, false));
    EXPECT_LT(shared.prompt_tokens_run, whole.prompt_tokens_run * 3 / 4);
    for (const auto& generated : shared.generated) {
      EXPECT_EQ(generated.size(), static_cast<size_t>(kAnswerTokens));
    }
  }
  EXPECT_TRUE(HoldsNothing());
}

TEST_F(BenchNeedleRunnerTest, GoesOnFromWhatARunBeforeHasDone) {
  for (const size_t num_done : {1, 3, 5, 8}) {
    NeedleOutcome before;
    NeedleRunOptions options = {.parallel = 2};
    options.on_test = [&](size_t, const NeedleOutcome& outcome) {
      before = outcome;
      const auto has = [](const auto& tokens) { return !tokens.empty(); };
      return std::count_if(outcome.generated.begin(), outcome.generated.end(),
                           has) < static_cast<int64_t>(num_done)
                 ? absl::OkStatus()
                 : absl::AbortedError("enough");
    };
    EXPECT_EQ(RunNeedleTask(cluster_->engine(), task_, options).status(),
              absl::AbortedError("enough"));
    NeedleRunOptions rest = {.parallel = 2, .done = before};
    const NeedleOutcome outcome = Run(rest);
    EXPECT_EQ(outcome.generated, Run({.parallel = 2}).generated);
    EXPECT_EQ(outcome.timing.token_seconds, before.timing.token_seconds);
    EXPECT_EQ(outcome.prompt_tokens_run - before.prompt_tokens_run,
              PlannedPromptTokens(task_, true, before));
  }
  EXPECT_TRUE(HoldsNothing());
}

TEST_F(BenchNeedleRunnerTest, PlansThatSumUpWhatTheyDropShareNoText) {
  EXPECT_FALSE(
      MayShareText(task_, Plan({{}, {}, {}, kRazor}).get(), KvType::kFp16));
}

TEST_F(BenchNeedleRunnerTest, FirstTestIsTimedAndItsKvRead) {
  NeedleRunOptions options = {.parallel = 2};
  options.kv_bytes_held = [this] { return cluster_->kv_bytes_used(); };
  const NeedleOutcome outcome = Run(options);
  EXPECT_EQ(outcome.timing.prefill_tokens, task_.PromptLen(task_.tests[0]));
  EXPECT_GT(outcome.timing.prefill_seconds, 0);
  EXPECT_EQ(outcome.timing.token_seconds.size(),
            static_cast<size_t>(kTimedTokens - 1));
  EXPECT_GT(outcome.timing.kv_length, outcome.timing.prefill_tokens);
  EXPECT_LE(outcome.timing.kv_length,
            outcome.timing.prefill_tokens + kTimedTokens);
  // Four full units on two ranks, fp16, in blocks of 64.
  const int64_t blocks = (outcome.timing.kv_length + 63) / 64;
  const int64_t unit_bytes = blocks * 64 * 2 * 2 * cluster_->shape().head_dim;
  EXPECT_EQ(outcome.timing.kv_bytes_held,
            (std::vector<int64_t>{2 * unit_bytes, 2 * unit_bytes}));
}

TEST_F(BenchNeedleRunnerTest, ErrorsEndTheRunAndReleaseWhatItHeld) {
  NeedleRunOptions options = {.plan = Plan({{}, {}, {}, kRazor})};
  EXPECT_EQ(RunNeedleTask(cluster_->engine(), task_, options).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(HoldsNothing());
}

TEST_F(BenchNeedleRunnerTest, PeakOfKvGrowsWithWhatRunsAtOneTime) {
  NeedleRunOptions options = {.parallel = 1};
  const int64_t one = PeakKvBytes(task_, options, Needs());
  options.parallel = 2;
  const int64_t two = PeakKvBytes(task_, options, Needs());
  options.shares_text = false;
  const int64_t two_whole = PeakKvBytes(task_, options, Needs());
  EXPECT_GT(two, one);
  // At depth 0 a fork is nearly a whole sequence.
  EXPECT_NEAR(static_cast<double>(two), static_cast<double>(two_whole),
              0.1 * static_cast<double>(two_whole));
  // One whole prompt, and the last blocks of prefix and forks.
  EXPECT_LT(one, two_whole * 7 / 10);
}

}  // namespace
}  // namespace headwise
