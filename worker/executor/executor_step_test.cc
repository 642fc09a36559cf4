// Steps of the executor: what one asks for, what is refused, what fails.

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"
#include "worker/executor/sequences.h"

namespace headwise {
namespace {

TEST(ExecutorStepTest, SampledTokenFeedsTheNextStep) {
  const TinyModel model(TinyModelOptions{});
  Cluster cluster(*model, 2, Options());
  Slice prompt;
  prompt.sequence_id = 4;
  prompt.tokens = {1, 2, 3};
  prompt.sample = true;
  prompt.sampling.logprobs = true;
  prompt.sampling.top_logprobs = 3;
  const StepResult first = *cluster.Run({1, {prompt}, {}});
  ASSERT_TRUE(first.results[0].has_token);
  EXPECT_EQ(first.results[0].top[0].token, first.results[0].token);
  EXPECT_EQ(first.results[0].top[0].logprob, first.results[0].logprob);
  EXPECT_GE(first.results[0].top[0].logprob, first.results[0].top[1].logprob);
  Slice next;
  next.sequence_id = 4;
  next.first_position = 3;
  next.use_last_sample = true;
  next.sample = true;
  const StepResult second = *cluster.Run({2, {next}, {}});
  // The same by hand, in another sequence.
  Slice by_hand = prompt;
  by_hand.sequence_id = 5;
  by_hand.tokens.push_back(first.results[0].token);
  const StepResult third = *cluster.Run({3, {by_hand}, {4}});
  EXPECT_EQ(second.results[0].token, third.results[0].token);
}

TEST(ExecutorStepTest, RefusesWhatContradictsTheBooks) {
  const TinyModel model(TinyModelOptions{});
  Cluster cluster(*model, 2, Options());
  const auto refused = [&](const std::function<void(Slice*)>& spoil,
                           const std::string& text) {
    Slice slice;
    slice.sequence_id = 9;
    slice.tokens = {1, 2};
    spoil(&slice);
    const absl::Status status = cluster.Run({1, {slice}, {}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
    EXPECT_EQ(cluster.rank(0).kv_blocks_used(), 0);
  };
  refused([](Slice* s) { s->first_position = 5; }, "first_position 5");
  refused([](Slice* s) { s->tokens = {320}; }, "token 320");
  refused([](Slice* s) { s->tokens = {-1}; }, "token -1");
  refused([](Slice* s) { s->tokens.clear(); }, "without rows");
  refused([](Slice* s) { s->use_last_sample = true; }, "use_last_sample");
  refused([](Slice* s) { s->score_targets = {1}; }, "1 score_targets");
  refused([](Slice* s) { s->score_targets = {1, 400}; }, "score target 400");
}

TinyModelOptions Untied() {
  TinyModelOptions options;
  options.tied_embeddings = false;
  return options;
}

// A tiny model in which a row of a tensor begins with what is not a number.
std::string GgufWithBadRow(const TinyModelOptions& options,
                           const std::string& tensor, int64_t row) {
  std::string file = WriteTinyGguf(options);
  const TinyModel model(file);
  const TensorView& table = *(*model).FindTensor(tensor);
  const auto row_bytes = static_cast<size_t>(table.row_bytes());
  const std::string bytes(
      reinterpret_cast<const char*>(table.bytes.data()) + row * row_bytes,
      row_bytes);
  const size_t at = file.find(bytes);
  EXPECT_NE(at, std::string::npos);
  const float bad = std::nanf("");
  std::memcpy(file.data() + at, &bad, sizeof(bad));
  return file;
}

// The second batch of rows has its sums with the group when the first fails.
TEST(ExecutorStepTest, RowsThatAreNotFiniteFailTheStepAndNotTheGroup) {
  // A token that is not among SomeTokens.
  const TinyModel model(GgufWithBadRow(Untied(), "token_embd.weight", 310));
  const std::vector<int32_t> good = SomeTokens(200);
  Cluster fresh(*model, 1, Options());
  const Scored expected = ScoreIn(fresh, good, 200, 0);
  for (const int world_size : {1, 2, 3}) {
    for (const size_t bad_row : {5, 150}) {
      SCOPED_TRACE(absl::StrCat(world_size, " workers, row ", bad_row));
      Cluster cluster(*model, world_size, Options(/*num_threads=*/2));
      std::vector<int32_t> bad = good;
      bad[bad_row] = 310;
      Step step;
      step.slices.push_back(ScoreSlice(2, bad, 0, 200));
      EXPECT_TRUE(absl::IsOutOfRange(cluster.Run(step).status()));
      step = {};
      step.free_sequence_ids = {2};
      EXPECT_TRUE(cluster.Run(step).ok());
      EXPECT_EQ(ScoreIn(cluster, good, 200, 0), expected);
    }
  }
}

struct BadHead {
  std::string tensor;  // of the vocabulary head, which the exact sum never sees
  ReductionMode reduction;
  int world_size;
};

std::vector<BadHead> BadHeads() {
  std::vector<BadHead> heads;
  for (const char* tensor : {"output.weight", "output_norm.weight"}) {
    for (const int world_size : {1, 2}) {
      heads.push_back({tensor, ReductionMode::kExact, world_size});
      heads.push_back({tensor, ReductionMode::kFast, world_size});
    }
  }
  return heads;
}

// The next step is on its way when the first fails, and wants its sample.
TEST(ExecutorStepTest, LogitsThatAreNotFiniteFailTheStepAndNotTheGroup) {
  for (const BadHead& head : BadHeads()) {
    SCOPED_TRACE(absl::StrCat(head.tensor, ", ", head.world_size, " workers"));
    const int64_t row = head.tensor == "output.weight" ? 310 : 0;
    const TinyModel model(GgufWithBadRow(Untied(), head.tensor, row));
    ExecutorOptions options = Options(/*num_threads=*/2);
    options.reduction = head.reduction;
    Cluster cluster(*model, head.world_size, options);
    Slice prompt;
    prompt.sequence_id = 1;
    prompt.tokens = {1, 2, 3};
    prompt.sample = true;
    Slice next;
    next.sequence_id = 1;
    next.first_position = 3;
    next.use_last_sample = true;
    next.sample = true;
    EXPECT_TRUE(absl::IsOutOfRange(cluster.Run({1, {prompt}, {}}).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(cluster.Run({2, {next}, {}}).status()));
    const Slice scored = ScoreSlice(2, {4, 5, 6}, 0, 3);
    EXPECT_TRUE(absl::IsOutOfRange(cluster.Run({3, {scored}, {1}}).status()));
    prompt.sample = false;
    EXPECT_TRUE(cluster.Run({4, {prompt}, {2}}).ok());
    prompt.embed = true;
    EXPECT_EQ(cluster.Run({5, {prompt}, {1}}).ok(), row != 0);
  }
}

TEST(ExecutorStepTest, NotFiniteEmbeddingFailsTheFastReductionToo) {
  const TinyModel model(GgufWithBadRow(Untied(), "token_embd.weight", 310));
  ExecutorOptions options = Options(/*num_threads=*/2);
  options.reduction = ReductionMode::kFast;
  for (const int world_size : {1, 2}) {
    Cluster cluster(*model, world_size, options);
    Slice slice;
    slice.sequence_id = 1;
    slice.tokens = {1, 310};
    slice.sample = true;
    EXPECT_TRUE(absl::IsOutOfRange(cluster.Run({1, {slice}, {}}).status()));
    slice.embed = true;
    slice.sample = false;
    EXPECT_TRUE(absl::IsOutOfRange(cluster.Run({2, {slice}, {1}}).status()));
  }
}

TEST(SequencesTest, SampleOutsideTheVocabularyIsRefused) {
  SequencesOptions options;
  options.units = {{0, 0}};
  options.capacity_bytes = 1 << 20;
  options.num_layers = options.num_heads = options.num_kv_heads = 1;
  options.head_dim = 16;
  options.vocab_size = 320;
  Sequences sequences(options);
  Slice slice;
  slice.sequence_id = 1;
  slice.tokens = {1};
  ASSERT_TRUE(sequences.Check({1, {slice}, {}}).ok());
  sequences.Begin(slice);
  sequences.Extend(1, 1);
  slice = {};
  slice.sequence_id = 1;
  slice.first_position = 1;
  slice.use_last_sample = true;
  for (const int32_t sample : {-1, 319, 320}) {
    sequences.Get(1).last_sample = sample;
    EXPECT_EQ(sequences.Check({2, {slice}, {}}).ok(), sample == 319);
  }
}

TEST(SequencesTest, KeptPlansAreBounded) {
  SequencesOptions options;
  options.num_layers = options.num_heads = options.num_kv_heads = 1;
  options.head_dim = 16;
  Sequences sequences(options);
  HeadPlan plan;
  plan.num_layers = plan.num_heads = plan.num_kv_heads = 1;
  plan.units.resize(1);
  plan.heads.resize(1);
  const auto shared = std::make_shared<const HeadPlan>(plan);
  std::vector<NumberedPlan> plans;
  for (uint64_t id = 1; id <= 128; ++id) plans.push_back({id, shared});
  EXPECT_TRUE(sequences.KeepPlans(plans).ok());
  EXPECT_TRUE(sequences.KeepPlans(plans).ok()) << "they are here";
  EXPECT_EQ(sequences.KeepPlans({{129, shared}}).message(),
            "129 plans to be kept, limit 128");
  sequences.DropPlans({7});
  EXPECT_TRUE(sequences.KeepPlans({{129, shared}}).ok());
}

TEST(ExecutorStepTest, FreedSequencesGiveTheirBlocksBack) {
  const TinyModel model(TinyModelOptions{});
  Cluster cluster(*model, 1, Options());
  Slice slice;
  slice.sequence_id = 1;
  slice.tokens = SomeTokens(70);
  ASSERT_TRUE(cluster.Run({1, {slice}, {}}).ok());
  EXPECT_EQ(cluster.rank(0).kv_blocks_used(), 2 * 2 * 2);
  ASSERT_TRUE(cluster.Run({2, {}, {1}}).ok());
  EXPECT_EQ(cluster.rank(0).kv_blocks_used(), 0);
}

TEST(ExecutorStepTest, CapacityIsRefusedWithNumbers) {
  const TinyModel model(TinyModelOptions{});
  ExecutorOptions options = Options();
  options.kv_capacity_bytes = 5 * 64 * KvBytesPerPosition(KvType::kFp32, 16);
  Cluster cluster(*model, 1, options);
  EXPECT_EQ(cluster.rank(0).kv_capacity_blocks(), 5);
  Slice slice;
  slice.sequence_id = 1;
  slice.tokens = SomeTokens(65);
  const absl::Status status = cluster.Run({1, {slice}, {}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(
      status.message(), "needs 65536 bytes of KV, 40960 of 40960 are free"))
      << status;
}

// Packed weights may take more bytes than the file's, so that only the worker
// knows what they leave for the KV.
TEST(ExecutorCreateTest, MemoryThatPackedWeightsLeaveBoundsTheKv) {
  const TinyModel model(TinyModelOptions{});
  const Shard shard = ShardOf(*model, 0, 1);
  ExecutorOptions options = Options();
  options.kv_capacity_bytes = 100 * 64 * KvBytesPerPosition(KvType::kFp32, 16);
  const auto create = [&] {
    return Executor::Create(*model, shard, options, nullptr);
  };
  const int64_t weight_bytes = (*create())->weight_bytes();
  const int64_t block = options.kv_capacity_bytes / 100;
  const int64_t num_units = 4;
  options.memory_bytes = weight_bytes + 7 * block + 1;
  EXPECT_EQ((*create())->kv_capacity_blocks(), 7);
  options.memory_bytes = weight_bytes + 1000 * block;
  EXPECT_EQ((*create())->kv_capacity_blocks(), 100);
  options.memory_bytes = weight_bytes + num_units * block;
  EXPECT_EQ((*create())->kv_capacity_blocks(), num_units);
  options.memory_bytes -= 1;
  const absl::Status refused = create().status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  for (const int64_t number :
       {weight_bytes, num_units * block, options.memory_bytes}) {
    EXPECT_TRUE(absl::StrContains(refused.message(), absl::StrCat(number)))
        << refused;
  }
}

TEST(ExecutorCreateTest, EndsOnceItIsNotWanted) {
  const TinyModel model(TinyModelOptions{});
  for (const int last : {1, 3}) {
    int calls = 0;
    const auto executor = Executor::Create(
        *model, ShardOf(*model, 0, 1), Options(/*num_threads=*/1),
        [&](double) { return ++calls < last; });
    EXPECT_TRUE(absl::IsCancelled(executor.status())) << executor.status();
    EXPECT_EQ(calls, last);
  }
}

TEST(ExecutorCreateTest, RefusesAShardTheModelHasNot) {
  const TinyModel model(TinyModelOptions{});
  const auto refused = [&](const std::function<void(Shard*)>& spoil) {
    Shard shard = ShardOf(*model, 0, 1);
    spoil(&shard);
    return Executor::Create(*model, shard, Options(), nullptr).status().code();
  };
  EXPECT_EQ(refused([](Shard* s) { s->layers.pop_back(); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](Shard* s) {
              s->layers[0].units = {0, 2};
            }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](Shard* s) {
              s->layers[0].units = {1, 0};
            }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](Shard* s) { s->layers[1].mlp_tiles = {-1}; }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](Shard* s) { s->vocab_tile_rank.clear(); }),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace headwise
