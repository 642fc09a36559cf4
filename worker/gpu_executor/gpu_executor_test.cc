// The executor on the device under test, its twin or a GPU: the bits of the
// CPU's executor, alone and in groups with it.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/head_plan/context_ranges.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {
namespace {

class GpuExecutorTest : public testing::TestWithParam<NamedModel> {};

// One answer, whoever computes it and in whatever company.
TEST_P(GpuExecutorTest, BitsAreThoseOfTheCpu) {
  const TinyModel model(GetParam().options);
  const std::vector<int32_t> tokens = SomeTokens(150);
  for (const KvType kv_type : {KvType::kFp16, KvType::kInt8}) {
    const ExecutorOptions options = Options(1, Isa::kAvx2, kv_type);
    Cluster cpu(*model, 1, options);
    const Scored expected = ScoreIn(cpu, tokens, 150, 0);
    ASSERT_EQ(expected.digests.size(), 150u);
    for (const char* ranks : {"g", "gg", "gc", "cgg"}) {
      for (const int64_t chunk : {17, 150}) {
        SCOPED_TRACE(absl::StrCat("ranks ", ranks, " chunk ", chunk));
        MixedCluster cluster(*model, ranks, options);
        const int company = chunk == 17 ? 5 : 0;
        ASSERT_EQ(ScoreIn(*cluster, tokens, chunk, company), expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, GpuExecutorTest,
                         testing::ValuesIn(NamedModels()), NameOfModel);

TEST(GpuExecutorKvTest, EveryTypeHasTheBitsOfTheCpu) {
  const TinyModel model(TinyModelOptions{});
  const std::vector<int32_t> tokens = SomeTokens(70);
  for (const KvType kv_type :
       {KvType::kFp32, KvType::kFp16, KvType::kBf16, KvType::kInt8}) {
    const ExecutorOptions options = Options(1, Isa::kAvx2, kv_type);
    Cluster cpu(*model, 1, options);
    MixedCluster gpu(*model, "g", options);
    EXPECT_EQ(ScoreIn(*gpu, tokens, 1, 0), ScoreIn(cpu, tokens, 70, 0));
  }
}

// Full batches have a wave for each range, few rows all ranges in one.
TEST(GpuExecutorLongTest, ContextsOfSeveralRangesHaveTheBitsOfTheCpu) {
  TinyModelOptions model_options;
  model_options.max_context_len = 4096;
  model_options.num_layers = 1;
  const TinyModel model(model_options);
  const std::vector<int32_t> tokens = SomeTokens(1100);
  Cluster cpu(*model, 1, Options());
  const Scored expected = ScoreIn(cpu, tokens, 1100, 0);
  for (const int64_t chunk : {1100, 45, 7}) {
    MixedCluster cluster(*model, "g", Options());
    EXPECT_EQ(ScoreIn(*cluster, tokens, chunk, 2), expected) << chunk;
  }
}

TEST(GpuExecutorLongTest, RangesOfTheDeviceAreThoseOfTheContext) {
  int64_t begin = 0;
  for (int64_t index = 0; index < 200; ++index) {
    EXPECT_EQ(cuda::BeginOfRange(index), begin);
    EXPECT_EQ(RangeIndex(begin), index);
    begin = RangeEnd(begin);
  }
}

Slice SampledSlice(uint64_t id, const std::vector<int32_t>& tokens) {
  Slice slice;
  slice.sequence_id = id;
  slice.tokens = tokens;
  slice.sample = true;
  slice.sampling.temperature = 0.8f;
  slice.sampling.seed = 11;
  slice.sampling.logprobs = true;
  slice.sampling.top_logprobs = 4;
  return slice;
}

void ExpectEqualResults(const StepResult& a, const StepResult& b) {
  ASSERT_EQ(a.results.size(), b.results.size());
  EXPECT_EQ(a.draws_digest, b.draws_digest);
  for (size_t i = 0; i < a.results.size(); ++i) {
    EXPECT_EQ(a.results[i].token, b.results[i].token);
    EXPECT_EQ(a.results[i].logprob, b.results[i].logprob);
    EXPECT_EQ(a.results[i].hidden, b.results[i].hidden);
    ASSERT_EQ(a.results[i].top.size(), b.results[i].top.size());
    for (size_t k = 0; k < a.results[i].top.size(); ++k) {
      EXPECT_EQ(a.results[i].top[k].token, b.results[i].top[k].token);
      EXPECT_EQ(a.results[i].top[k].logprob, b.results[i].top[k].logprob);
    }
  }
}

// Samples, their use in the next step, hidden states, forks, frees.
TEST(GpuExecutorStepTest, StepsAnswerAsTheCpusDo) {
  const TinyModel model(TinyModelOptions{});
  Cluster cpu(*model, 1, Options());
  MixedCluster gpu(*model, "gg", Options());
  const auto both = [&](const Step& step) {
    const absl::StatusOr<StepResult> expected = cpu.Run(step);
    const absl::StatusOr<StepResult> actual = gpu->Run(step);
    ASSERT_TRUE(expected.ok() && actual.ok()) << actual.status();
    ExpectEqualResults(*actual, *expected);
  };
  Slice embedded = SampledSlice(2, SomeTokens(140, 3));
  embedded.embed = true;
  both({1, {SampledSlice(1, SomeTokens(70)), embedded}, {}});
  Slice next = SampledSlice(1, {});
  next.first_position = 70;
  next.use_last_sample = true;
  both({2, {next}, {2}});
  Step fork;  // in the middle of a block
  fork.step_id = 3;
  fork.forks.push_back({.sequence_id = 3, .from_sequence_id = 1, .length = 40});
  Slice forked = SampledSlice(3, SomeTokens(9, 5));
  forked.first_position = 40;
  fork.slices = {forked};
  both(fork);
  EXPECT_EQ(gpu->rank(0).kv_blocks_used() + gpu->rank(1).kv_blocks_used(),
            cpu.rank(0).kv_blocks_used());
  both({4, {}, {1, 3}});
  EXPECT_EQ(gpu->rank(0).kv_blocks_used(), 0);
}

}  // namespace
}  // namespace headwise
