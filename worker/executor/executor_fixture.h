// What the executor's tests share: tiny models, and all ranks in one process.

#ifndef HEADWISE_WORKER_EXECUTOR_EXECUTOR_FIXTURE_H_
#define HEADWISE_WORKER_EXECUTOR_EXECUTOR_FIXTURE_H_

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/work_grid.h"
#include "worker/collectives/in_process_group.h"
#include "worker/executor/executor.h"

namespace headwise {

// A tiny model's file for as long as the test runs.
class TinyModel {
 public:
  explicit TinyModel(const TinyModelOptions& options)
      : TinyModel(WriteTinyGguf(options)) {}
  explicit TinyModel(const std::string& file) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            absl::StrCat("headwise_executor_", getpid(), "_", count++, ".gguf");
    EXPECT_TRUE(WriteFile(path_, file).ok());
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

// A tiny model that tests of an executor run, under a name for gtest.
struct NamedModel {
  const char* name;
  TinyModelOptions options;
};

inline std::vector<NamedModel> NamedModels() {
  std::vector<NamedModel> models;
  models.push_back({"llama", {}});
  TinyModelOptions qwen2;  // with biases
  qwen2.architecture = Architecture::kQwen2;
  models.push_back({"qwen2", qwen2});
  TinyModelOptions qwen3;  // with norms of queries and keys
  qwen3.architecture = Architecture::kQwen3;
  qwen3.head_dim = 32;
  qwen3.tied_embeddings = false;
  models.push_back({"qwen3", qwen3});
  TinyModelOptions odd;  // three query heads per KV head, several vocab tiles
  odd.num_heads = 9;
  odd.num_kv_heads = 3;
  odd.head_dim = 32;
  odd.ffn_dim = 288;
  odd.vocab_size = 2500;
  odd.rope_scaling.kind = RopeScalingKind::kLinear;
  odd.rope_scaling.factor = 2.0;
  models.push_back({"odd", odd});
  TinyModelOptions quantized = odd;
  quantized.dtype = DType::kQ4_1;
  quantized.embedding_dtype = DType::kQ8_0;
  models.push_back({"quantized", quantized});
  return models;
}

inline std::string NameOfModel(const testing::TestParamInfo<NamedModel>& info) {
  return info.param.name;
}

// Everything dealt round robin.
inline Shard ShardOf(const Model& model, int rank, int world_size) {
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

inline Shard WithCuts(const Model& model, Shard shard, int rank, int world_size,
                      const std::vector<int>& rank_of_range) {
  shard.rank = rank;
  if (rank_of_range.empty()) return shard;
  const int64_t num_units = MakeWorkGrid(model.hyperparameters()).num_units;
  for (size_t l = 0; l < shard.layers.size(); ++l) {
    Shard::Layer& layer = shard.layers[l];
    layer.units.clear();
    for (int u = 0; u < num_units; ++u) {
      const int owner = (u + static_cast<int>(l)) % world_size;
      layer.cuts.push_back({u, owner, rank_of_range});
      if (layer.cuts.back().Involves(rank)) layer.units.push_back(u);
    }
  }
  return shard;
}

// All ranks of a model in this process; Run gives every rank the same step.
class Cluster {
 public:
  using MakeExecutor = std::function<absl::StatusOr<std::unique_ptr<Executor>>(
      const Model& model, int rank, Shard shard,
      const ExecutorOptions& options)>;

  Cluster(const Model& model, int world_size, const ExecutorOptions& options)
      : Cluster(model, world_size, options, {}) {}
  // Every unit's context is dealt over ranks as `rank_of_range` says.
  Cluster(const Model& model, int world_size, const ExecutorOptions& options,
          const std::vector<int>& rank_of_range)
      : Cluster(model, world_size, options, rank_of_range,
                [](const Model& of, int, Shard shard,
                   const ExecutorOptions& its_options) {
                  return Executor::Create(of, std::move(shard), its_options,
                                          nullptr);
                }) {}
  Cluster(const Model& model, int world_size, const ExecutorOptions& options,
          const std::vector<int>& rank_of_range, const MakeExecutor& make) {
    GroupOptions group_options;
    group_options.timeout = absl::Seconds(30);
    group_options.started_sum_bytes = MaxSumBytes(model.hyperparameters());
    groups_ = *CreateInProcessGroups(world_size, 1, group_options);
    for (int rank = 0; rank < world_size; ++rank) {
      absl::StatusOr<std::unique_ptr<Executor>> executor =
          make(model, rank,
               WithCuts(model, ShardOf(model, rank, world_size), rank,
                        world_size, rank_of_range),
               options);
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

inline ExecutorOptions Options(int num_threads = 1, Isa isa = Isa::kAvx2,
                               KvType kv_type = KvType::kFp32) {
  ExecutorOptions options;
  options.num_threads = num_threads;
  options.isa = isa;
  options.kv_type = kv_type;
  options.kv_capacity_bytes = 64 << 20;
  return options;
}

inline std::vector<int32_t> SomeTokens(int64_t count, int32_t salt = 0) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back((i * 37 + salt * 11 + 5) % 300);
  }
  return tokens;
}

inline Slice ScoreSlice(uint64_t id, const std::vector<int32_t>& tokens,
                        int64_t begin, int64_t end) {
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
inline Scored ScoreIn(Cluster& cluster, const std::vector<int32_t>& tokens,
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

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_EXECUTOR_FIXTURE_H_
