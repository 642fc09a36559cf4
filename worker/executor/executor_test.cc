// The executor on tiny models: against the forward pass in double, and the bits
// over workers, threads, chunks, batches and instruction sets.

#include "worker/executor/executor.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/work_grid.h"
#include "worker/collectives/in_process_group.h"
#include "worker/executor/reference_forward.h"

namespace headwise {
namespace {

// A tiny model's file for as long as the test runs.
class TinyModel {
 public:
  explicit TinyModel(const TinyModelOptions& options) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            absl::StrCat("headwise_executor_", getpid(), "_", count++, ".gguf");
    EXPECT_TRUE(WriteFile(path_, WriteTinyGguf(options)).ok());
    absl::StatusOr<std::unique_ptr<Model>> model = Model::Open(path_);
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  ~TinyModel() { std::filesystem::remove(path_); }
  const Model& operator*() const { return *model_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<Model> model_;
};

// Everything dealt round robin.
Shard ShardOf(const Model& model, int rank, int world_size) {
  const WorkGrid grid = MakeWorkGrid(model.hyperparameters());
  Shard shard;
  for (int64_t l = 0; l < grid.num_layers; ++l) {
    Shard::Layer& layer = shard.layers.emplace_back();
    for (int u = 0; u < grid.num_units; ++u) {
      if ((u + l) % world_size == rank) layer.units.push_back(u);
    }
    for (int t = 0; t < grid.num_mlp_tiles; ++t) {
      if (t % world_size == rank) layer.mlp_tiles.push_back(t);
    }
  }
  for (int v = 0; v < grid.num_vocab_tiles; ++v) {
    shard.vocab_tile_rank.push_back((v + 1) % world_size);
    if ((v + 1) % world_size == rank) shard.vocab_tiles.push_back(v);
  }
  return shard;
}

// All ranks of a model in this process; Run gives every rank the same step.
class Cluster {
 public:
  Cluster(const Model& model, int world_size, const ExecutorOptions& options) {
    GroupOptions group_options;
    group_options.timeout = absl::Seconds(30);
    groups_ = *CreateInProcessGroups(world_size, 1, group_options);
    for (int rank = 0; rank < world_size; ++rank) {
      absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(
          model, ShardOf(model, rank, world_size), options, nullptr);
      EXPECT_TRUE(executor.ok()) << executor.status();
      executors_.push_back(*std::move(executor));
      executors_.back()->SetGroup(groups_[rank].get());
    }
  }

  absl::StatusOr<StepResult> Run(const Step& step) {
    std::vector<absl::StatusOr<StepResult>> results(executors_.size());
    std::vector<std::thread> threads;
    for (size_t rank = 1; rank < executors_.size(); ++rank) {
      threads.emplace_back(
          [&, rank] { results[rank] = executors_[rank]->Run(step); });
    }
    results[0] = executors_[0]->Run(step);
    for (std::thread& thread : threads) thread.join();
    for (const auto& result : results) {
      EXPECT_EQ(result.status().code(), results[0].status().code());
    }
    return results[0];
  }
  Executor& rank(int i) { return *executors_[i]; }

 private:
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Executor>> executors_;
};

ExecutorOptions Options(int num_threads = 1, Isa isa = Isa::kAvx2,
                        KvType kv_type = KvType::kFp32) {
  ExecutorOptions options;
  options.num_threads = num_threads;
  options.isa = isa;
  options.kv_type = kv_type;
  options.kv_capacity_bytes = 64 << 20;
  return options;
}

std::vector<int32_t> SomeTokens(int64_t count, int32_t salt = 0) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back((i * 37 + salt * 11 + 5) % 300);
  }
  return tokens;
}

Slice ScoreSlice(uint64_t id, const std::vector<int32_t>& tokens, int64_t begin,
                 int64_t end) {
  Slice slice;
  slice.sequence_id = id;
  slice.first_position = begin;
  for (int64_t i = begin; i < end; ++i) {
    slice.tokens.push_back(tokens[i]);
    slice.score_targets.push_back(
        i + 1 < static_cast<int64_t>(tokens.size()) ? tokens[i + 1] : -1);
  }
  slice.hash_logits = true;
  return slice;
}

struct Scored {
  std::vector<float> logprobs;
  std::vector<Sha256Digest> digests;
  bool operator==(const Scored&) const = default;
};

// Scores `tokens` in chunks, with `company` other sequences in the same steps.
Scored ScoreIn(Cluster& cluster, const std::vector<int32_t>& tokens,
               int64_t chunk, int company) {
  Scored scored;
  uint64_t step_id = 1;
  const auto count = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < count; begin += chunk) {
    Step step;
    step.step_id = step_id++;
    for (int c = 0; c < company; ++c) {
      const int64_t at = begin / chunk * (c + 1);
      step.slices.push_back(
          ScoreSlice(100 + c, SomeTokens(2000, c + 1), at, at + c + 1));
    }
    const size_t place = step.slices.size() / 2;
    step.slices.insert(
        step.slices.begin() + static_cast<int64_t>(place),
        ScoreSlice(1, tokens, begin, std::min(begin + chunk, count)));
    const absl::StatusOr<StepResult> result = cluster.Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return scored;
    const SliceResult& slice = result->results[place];
    scored.logprobs.insert(scored.logprobs.end(), slice.score_logprobs.begin(),
                           slice.score_logprobs.end());
    scored.digests.insert(scored.digests.end(), slice.logits_digests.begin(),
                          slice.logits_digests.end());
  }
  return scored;
}

struct ShapeParam {
  const char* name;
  TinyModelOptions options;
  // Allowed error of a log-probability.
  double tolerance;
};

std::vector<ShapeParam> Shapes() {
  std::vector<ShapeParam> shapes;
  // fp32 throughout: some hundred roundings of 2^-24 on logits below 30.
  shapes.push_back({"llama", {}, 1e-4});
  TinyModelOptions qwen2;
  qwen2.architecture = Architecture::kQwen2;
  shapes.push_back({"qwen2", qwen2, 1e-4});
  TinyModelOptions qwen3;
  qwen3.architecture = Architecture::kQwen3;
  qwen3.head_dim = 32;
  qwen3.tied_embeddings = false;
  shapes.push_back({"qwen3", qwen3, 1e-4});
  TinyModelOptions odd;  // three query heads per KV head, several vocab tiles
  odd.num_heads = 9;
  odd.num_kv_heads = 3;
  odd.head_dim = 32;
  odd.ffn_dim = 288;
  odd.vocab_size = 2500;
  odd.rope_scaling.kind = RopeScalingKind::kLinear;
  odd.rope_scaling.factor = 2.0;
  shapes.push_back({"odd", odd, 1e-4});
  // int8 activations: a relative step of 1/254 in every product; the bound is
  // what 2 layers of such noise leave of logits of a few units.
  TinyModelOptions quantized = odd;
  quantized.dtype = DType::kQ4_1;
  quantized.embedding_dtype = DType::kQ8_0;
  shapes.push_back({"quantized", quantized, 0.1});
  return shapes;
}

class ExecutorTest : public testing::TestWithParam<ShapeParam> {};

TEST_P(ExecutorTest, LogprobsEqualTheForwardPassInDouble) {
  const TinyModel model(GetParam().options);
  const std::vector<int32_t> tokens = SomeTokens(40);
  Cluster cluster(*model, 1, Options());
  const Scored scored = ScoreIn(cluster, tokens, 40, 0);
  const auto logits = ReferenceForward(*model, tokens);
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0.0;
    for (double logit : logits[t]) sum += std::exp(logit);
    EXPECT_NEAR(scored.logprobs[t], logits[t][tokens[t + 1]] - std::log(sum),
                GetParam().tolerance)
        << "token " << t;
  }
}

// The promise: one answer, whoever computes it and in whatever company.
TEST_P(ExecutorTest, BitsAreEqualOverTheWholeMatrix) {
  const TinyModel model(GetParam().options);
  const std::vector<int32_t> tokens = SomeTokens(150);
  for (KvType kv_type : {KvType::kFp16, KvType::kInt8}) {
    Cluster one(*model, 1, Options(1, Isa::kAvx2, kv_type));
    const Scored expected = ScoreIn(one, tokens, 150, 0);
    ASSERT_EQ(expected.digests.size(), 150u);
    for (int world_size : {1, 2, 3, 7}) {
      for (int threads : {1, 2}) {
        for (int64_t chunk : {1, 17, 150}) {
          if (world_size == 7 && chunk == 1) continue;  // slow, adds little
          for (Isa isa : IsasOfThisMachine()) {
            const int company = threads == 2 ? 5 : 0;
            SCOPED_TRACE(absl::StrCat("workers ", world_size, " threads ",
                                      threads, " chunk ", chunk, " isa ",
                                      IsaName(isa), " company ", company));
            Cluster cluster(*model, world_size, Options(threads, isa, kv_type));
            ASSERT_EQ(ScoreIn(cluster, tokens, chunk, company), expected);
          }
        }
      }
    }
  }
}

std::string ShapeName(const testing::TestParamInfo<ShapeParam>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Shapes, ExecutorTest, testing::ValuesIn(Shapes()),
                         ShapeName);

// A context that crosses ranges: decoding with its rows cut over threads gives
// the bits of a prefill.
TEST(ExecutorLongTest, DecodeEqualsPrefillAcrossRanges) {
  TinyModelOptions options;
  options.max_context_len = 4096;
  options.num_layers = 1;
  const TinyModel model(options);
  const std::vector<int32_t> tokens = SomeTokens(1100);
  Cluster whole(*model, 1, Options(1));
  const Scored expected = ScoreIn(whole, tokens, 1100, 0);
  Cluster cluster(*model, 2, Options(2));
  EXPECT_EQ(ScoreIn(cluster, tokens, 1, 0), expected);
}

TEST(ExecutorStepTest, SampledTokenFeedsTheNextStep) {
  const TinyModel model({});
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
  const TinyModel model({});
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

TEST(ExecutorStepTest, FreedSequencesGiveTheirBlocksBack) {
  const TinyModel model({});
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
  const TinyModel model({});
  ExecutorOptions options = Options();
  options.kv_capacity_bytes = 5 * 64 * KvBytesPerPosition(KvType::kFp32, 16);
  Cluster cluster(*model, 1, options);
  EXPECT_EQ(cluster.rank(0).kv_capacity_blocks(), 5);
  Slice slice;
  slice.sequence_id = 1;
  slice.tokens = SomeTokens(65);
  const absl::Status status = cluster.Run({1, {slice}, {}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(), "needs 8 KV blocks, 5 of 5"))
      << status;
}

TEST(ExecutorCreateTest, RefusesAShardTheModelHasNot) {
  const TinyModel model({});
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
