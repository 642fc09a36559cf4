// Titans models: equal to the formulas in double, and equal bits however they
// are run.

#include <cmath>
#include <functional>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "model/files/test_titans_folder.h"
#include "worker/executor/executor_fixture.h"
#include "worker/executor/parking_fixture.h"
#include "worker/executor/titans_reference.h"

namespace headwise {
namespace {

// Natural log of the probability of every next token.
std::vector<double> ReferenceLogprobs(const Model& model,
                                      const std::vector<int32_t>& tokens) {
  std::vector<double> logprobs;
  const auto logits = TitansReferenceForward(model, tokens);
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0.0;
    for (const double logit : logits[t]) sum += std::exp(logit);
    logprobs.push_back(logits[t][tokens[t + 1]] - std::log(sum));
  }
  return logprobs;
}

void ExpectEqualsReference(const TinyModelOptions& options) {
  const TinyTitans model(options);
  const std::vector<int32_t> tokens = SomeTokens(90);
  const std::vector<double> expected = ReferenceLogprobs(*model, tokens);
  Cluster cluster(*model, 1, Options());
  const Scored scored = ScoreIn(cluster, tokens, 90, 0);
  ASSERT_EQ(scored.logprobs.size(), expected.size() + 1);
  double worst = 0.0;
  for (size_t t = 0; t < expected.size(); ++t) {
    worst = std::max(worst, std::abs(scored.logprobs[t] - expected[t]));
  }
  EXPECT_LT(worst, 1e-4);
}

class ExecutorTitansTest : public testing::TestWithParam<TitansVariant> {};

TEST_P(ExecutorTitansTest, EqualsTheFormulasInDouble) {
  const std::function<void(TitansHyperparameters*)> changes[] = {
      [](TitansHyperparameters*) {},
      [](TitansHyperparameters* t) {
        t->num_persistent = 0;
        t->conv_kernel = 1;
        t->gate_stretch = 0.0f;
        // A norm of small outputs makes steep gradients, and larger steps make
        // any rounding grow.
        t->theta_max = 0.002f;
        t->memory.norm = MemoryNorm::kLayer;
        t->memory.activation = MemoryActivation::kGelu;
      },
      [](TitansHyperparameters* t) {
        t->memory.num_layers = 1;
        t->memory.hidden_dim = 0;
        t->memory.residual = false;
        t->memory.norm = MemoryNorm::kRms;
        t->theta_max = 0.01f;
        t->num_persistent = 70;  // more than a block
      },
      [](TitansHyperparameters* t) {
        t->memory.num_layers = 3;
        t->memory.chunk_len = 5;
        t->window = t->variant == TitansVariant::kMac ? 5 : 1;
        if (t->variant != TitansVariant::kMac) t->conv_kernel = 8;
      },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    SCOPED_TRACE(i);
    TinyModelOptions options = TinyTitansOptions(GetParam());
    changes[i](&*options.titans);
    ExpectEqualsReference(options);
  }
}

TEST_P(ExecutorTitansTest, BitsDependOnTheTokensAlone) {
  const TinyTitans model(GetParam());
  const std::vector<int32_t> tokens = SomeTokens(300);
  Cluster one(*model, 1, Options());
  const Scored expected = ScoreIn(one, tokens, 300, 0);
  for (const Isa isa : IsasOfThisMachine()) {
    for (const int world_size : {1, 2, 3}) {
      for (const int64_t chunk : {1, 7, 64, 300}) {
        const int threads = 1 + static_cast<int>(chunk) % 3;
        SCOPED_TRACE(absl::StrCat(IsaName(isa), " ", world_size, " workers, ",
                                  threads, " threads, chunks of ", chunk));
        Cluster cluster(*model, world_size, Options(threads, isa));
        const int company = chunk == 7 ? 3 : 0;
        EXPECT_EQ(ScoreIn(cluster, tokens, chunk, company), expected);
      }
    }
  }
}

TEST_P(ExecutorTitansTest, LaterTokensChangeNothingBefore) {
  const TinyTitans model(GetParam());
  std::vector<int32_t> tokens = SomeTokens(80);
  Cluster cluster(*model, 1, Options());
  const Scored before = ScoreIn(cluster, tokens, 80, 0);
  for (const size_t changed : {79, 50, 32, 17}) {
    tokens[changed] = (tokens[changed] + 1) % 300;
    FreeIn(cluster, 1);
    const Scored after = ScoreIn(cluster, tokens, 80, 0);
    const auto end = static_cast<int64_t>(changed);
    EXPECT_TRUE(std::equal(before.digests.begin(), before.digests.begin() + end,
                           after.digests.begin()))
        << changed;
    EXPECT_NE(before.digests[changed], after.digests[changed]);
  }
}

// Two layers of a window of 4 see 8 positions; random gates forget half of
// what there is with every token, so not much more than that is left.
TEST_P(ExecutorTitansTest, OnlyMemoryReachesBeyondTheWindow) {
  TinyModelOptions options = TinyTitansOptions(GetParam());
  options.titans->window = options.titans->memory.chunk_len = 4;
  // What is read is what was written, and its norm undoes what was forgotten.
  options.titans->memory.num_layers = 1;
  options.titans->memory.hidden_dim = 0;
  options.titans->memory.residual = false;
  const TinyTitans model(options);
  std::vector<int32_t> tokens = SomeTokens(23);
  Cluster cluster(*model, 1, Options());
  const Scored before = ScoreIn(cluster, tokens, 23, 0);
  tokens[10] = (tokens[10] + 1) % 300;
  FreeIn(cluster, 1);
  const Scored after = ScoreIn(cluster, tokens, 23, 0);
  EXPECT_EQ(before.digests.back() != after.digests.back(),
            options.titans->has_memory());
}

TEST_P(ExecutorTitansTest, ForkGoesOnAsItsOrigin) {
  const TinyTitans model(GetParam());
  const std::vector<int32_t> tokens = SomeTokens(200);
  Cluster cluster(*model, 2, Options());
  const Scored expected = ScoreIn(cluster, tokens, 200, 0);
  Step prefix;
  prefix.slices.push_back(ScoreSlice(2, tokens, 0, 117));
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step early;
  early.forks.push_back({3, 2, 116, 0, 0});
  const bool has_memory = (*model).hyperparameters().titans->has_memory();
  EXPECT_EQ(cluster.Run(early).status().code(),
            has_memory ? absl::StatusCode::kFailedPrecondition
                       : absl::StatusCode::kOk);
  Step fork;
  fork.forks.push_back({4, 2, 117, 0, 0});
  fork.forks.push_back({5, 2, 117, 0, 0});
  fork.slices.push_back(ScoreSlice(4, tokens, 117, 200));
  fork.slices.push_back(ScoreSlice(2, SomeTokens(200, 9), 117, 170));
  ASSERT_TRUE(cluster.Run(fork).ok());
  Step later;
  later.slices.push_back(ScoreSlice(5, tokens, 117, 200));
  const absl::StatusOr<StepResult> result = cluster.Run(later);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(
      result->results[0].logits_digests,
      std::vector(expected.digests.begin() + 117, expected.digests.end()));
}

TEST_P(ExecutorTitansTest, ParkedSequenceGoesOnWithEveryBit) {
  const TinyTitans model(GetParam());
  const std::vector<int32_t> tokens = SomeTokens(200);
  Cluster whole(*model, 1, Options());
  const Scored expected = ScoreIn(whole, tokens, 200, 0);
  const ParkFolder folder;
  Cluster cluster(*model, 2, folder.Use(Options()));
  Step first;
  first.slices.push_back(ScoreSlice(1, tokens, 0, 117));  // inside a chunk
  ASSERT_TRUE(cluster.Run(first).ok());
  const auto park = [&](ParkAction action) {
    Step step;
    step.parks.push_back({.sequence_id = 1, .action = action});
    return cluster.Run(step)->parks[0].status;
  };
  const int64_t used = cluster.rank(0).kv_bytes_used();
  ASSERT_TRUE(park(ParkAction::kWrite).ok());
  ASSERT_TRUE(park(ParkAction::kUnload).ok());
  EXPECT_EQ(cluster.rank(0).kv_bytes_used(), 0);
  ASSERT_TRUE(park(ParkAction::kRead).ok());
  EXPECT_EQ(cluster.rank(0).kv_bytes_used(), used);
  Step rest;
  rest.slices.push_back(ScoreSlice(1, tokens, 117, 200));
  const absl::StatusOr<StepResult> result = cluster.Run(rest);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(
      result->results[0].logits_digests,
      std::vector(expected.digests.begin() + 117, expected.digests.end()));
}

// What is held does not grow: the memory, and blocks of the window.
TEST_P(ExecutorTitansTest, BytesStayWithinWhatTheBooksSay) {
  const TinyTitans model(GetParam());
  const Hyperparameters& hyper = (*model).hyperparameters();
  Cluster cluster(*model, 1, Options());
  const std::vector<int32_t> tokens = SomeTokens(1500);
  ScoreIn(cluster, tokens, 100, 0);
  const int64_t units = hyper.num_layers * hyper.num_heads;
  const int64_t block =
      KvLayout{KvElement::kFp32, hyper.kv_head_dim()}.block_bytes();
  // The window of the next token begins in the block before the last.
  const int64_t blocks = hyper.titans->window > 1500 % 64 + 1 ? 2 : 1;
  EXPECT_EQ(cluster.rank(0).kv_bytes_used(),
            units * (hyper.unit_state_bytes() + blocks * block));
  FreeIn(cluster, 1);
  EXPECT_EQ(cluster.rank(0).kv_bytes_used(), 0);
}

TEST_P(ExecutorTitansTest, FullBooksRefuseAndChangeNothing) {
  const TinyTitans model(GetParam());
  const Hyperparameters& hyper = (*model).hyperparameters();
  ExecutorOptions options = Options();
  options.kv_capacity_bytes =
      hyper.num_layers * hyper.num_heads * hyper.unit_state_bytes();
  Cluster cluster(*model, 1, options);
  Step step;
  step.slices.push_back(ScoreSlice(1, SomeTokens(20), 0, 20));
  const bool is_lmm = hyper.titans->variant == TitansVariant::kLmm;
  EXPECT_EQ(
      cluster.Run(step).status().code(),
      is_lmm ? absl::StatusCode::kOk : absl::StatusCode::kResourceExhausted);
  Step second;
  second.slices.push_back(ScoreSlice(2, SomeTokens(20), 0, 20));
  EXPECT_TRUE(absl::IsResourceExhausted(cluster.Run(second).status()));
}

INSTANTIATE_TEST_SUITE_P(Variants, ExecutorTitansTest,
                         testing::ValuesIn(kTitansVariants),
                         [](const auto& info) {
                           return std::string(NameOf(info.param));
                         });

// A write that blows a memory up fails the step on every rank alike, and not
// the group.
TEST(ExecutorTitansFailureTest, NormBeyondItsLimitFailsTheStep) {
  TinyModelOptions options = TinyTitansOptions(TitansVariant::kMag);
  options.titans->theta_max = 1000.0f;
  options.titans->memory.max_norm = 100.0f;
  const TinyTitans model(options);
  for (const ReductionMode mode :
       {ReductionMode::kExact, ReductionMode::kFast}) {
    for (const int world_size : {1, 3}) {
      SCOPED_TRACE(world_size);
      ExecutorOptions run = Options(/*num_threads=*/2);
      run.reduction = mode;
      Cluster cluster(*model, world_size, run);
      Step step;
      step.slices.push_back(ScoreSlice(1, SomeTokens(40), 0, 40));
      const absl::Status status = cluster.Run(step).status();
      EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
      EXPECT_EQ(absl::StrContains(status.message(), "max_norm, in layer 0"),
                mode == ReductionMode::kExact || world_size == 1)
          << status;
      // Less than a chunk is only held.
      Step next;
      next.free_sequence_ids = {1};
      next.slices.push_back(ScoreSlice(2, SomeTokens(9), 0, 9));
      EXPECT_TRUE(cluster.Run(next).ok());
    }
  }
}

TEST(ExecutorTitansFailureTest, WhatTitansModelsHaveNotIsRefused) {
  const TinyTitans model(TitansVariant::kMal);
  Cluster cluster(*model, 2, Options());
  Step step;
  auto plan = std::make_shared<HeadPlan>();
  plan->num_layers = 2;
  plan->num_heads = plan->num_kv_heads = 4;
  plan->units.resize(8);
  plan->heads.resize(8);
  step.plans.push_back({1, plan});
  EXPECT_TRUE(absl::IsUnimplemented(cluster.Run(step).status()));
  Step probe;
  probe.slices.push_back(ScoreSlice(1, SomeTokens(9), 0, 9));
  probe.slices[0].probe.argmax = true;
  EXPECT_TRUE(absl::IsInvalidArgument(cluster.Run(probe).status()));
  const Shard cut = WithCuts(*model, ShardOf(*model, 0, 2), 0, 2, {0, 1});
  EXPECT_TRUE(absl::IsUnimplemented(
      Executor::Create(*model, cut, Options(), nullptr).status()));
}

}  // namespace
}  // namespace headwise
