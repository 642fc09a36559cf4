#include "worker/service/input_checks.h"

#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/work_grid.h"

namespace headwise {
namespace {

constexpr int64_t kMaxStepTokens = 1 << 20;
constexpr int64_t kMaxKvBytes = int64_t{1} << 50;
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxFreesPerStep = 65536;
constexpr int64_t kMaxPosition = int64_t{1} << 40;
constexpr int32_t kMaxTopLogprobs = 20;

absl::Status CheckRange(absl::string_view what, int64_t value, int64_t low,
                        int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is ", value, ", allowed ", low, " to ", high));
}

// `values` ascend strictly within [0, limit).
absl::Status CheckAscending(absl::string_view what,
                            const std::vector<int>& values, int64_t limit) {
  int64_t last = -1;
  for (const int value : values) {
    if (value <= last || value >= limit) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, " has ", value, " after ", last,
                       "; they must ascend and be below ", limit));
    }
    last = value;
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const SamplingOptions& sampling) {
  const auto bad = [](absl::string_view what, float value) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling ", what, " is ", value, ", out of range"));
  };
  // Written so that NaN fails.
  if (!(sampling.temperature >= 0.0f && std::isfinite(sampling.temperature))) {
    return bad("temperature", sampling.temperature);
  }
  if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f)) {
    return bad("top_p", sampling.top_p);
  }
  if (!(sampling.min_p >= 0.0f && sampling.min_p < 1.0f)) {
    return bad("min_p", sampling.min_p);
  }
  if (!(sampling.repetition_penalty > 0.0f &&
        std::isfinite(sampling.repetition_penalty))) {
    return bad("repetition_penalty", sampling.repetition_penalty);
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("sampling top_k", sampling.top_k, 0, INT32_MAX));
  return CheckRange("sampling top_logprobs", sampling.top_logprobs, 0,
                    kMaxTopLogprobs);
}

absl::Status CheckBuild(const WorkerConfig& config) {
  const BuildInfo& own = OwnBuild();
  if (config.numerics != own.numerics) {
    return absl::FailedPreconditionError(
        absl::StrCat("the group has numerics ", config.numerics,
                     ", this worker of build ", own.version, " has ",
                     own.numerics, ": the bits of their answers differ"));
  }
  if (own.protocols.Has(config.protocol)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the group speaks protocol ", config.protocol, ", this worker of build ",
      own.version, " speaks ", TextOf(own.protocols)));
}

int64_t SizeOf(const auto& list) { return static_cast<int64_t>(list.size()); }

absl::Status CheckProbe(const ProbeRequest& probe) {
  HEADWISE_RETURN_IF_ERROR(CheckRange("distance_sets of a probe",
                                      SizeOf(probe.distance_sets), 0,
                                      kMaxDistanceSets));
  for (const std::vector<int64_t>& distances : probe.distance_sets) {
    HEADWISE_RETURN_IF_ERROR(CheckRange("distances of a set", SizeOf(distances),
                                        0, kMaxDistancesPerSet));
    for (const int64_t distance : distances) {
      HEADWISE_RETURN_IF_ERROR(
          CheckRange("distance of a probe", distance, 0, kMaxPosition));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPlans(const Step& step, const Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("plans", SizeOf(step.plans), 0, kMaxPlans));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("drop_plan_ids", SizeOf(step.drop_plan_ids), 0, kMaxPlans));
  std::set<uint64_t> ids;
  for (const NumberedPlan& plan : step.plans) {
    if (plan.plan_id == 0 || !ids.insert(plan.plan_id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("plan_id ", plan.plan_id, " is 0 or twice in one step"));
    }
    const absl::Status fits =
        CheckPlanFits(*plan.plan, hyper, plan.plan->model_sha256);
    if (!fits.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("plan ", plan.plan_id, ": ", fits.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckForks(const Step& step) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("forks", SizeOf(step.forks), 0, kMaxForks));
  for (const Fork& fork : step.forks) {
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("length of a fork", fork.length, 1, kMaxPosition));
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("prompt_len of a fork", fork.prompt_len, 0, kMaxPosition));
    if (fork.sequence_id == fork.from_sequence_id) {
      return absl::InvalidArgumentError(
          absl::StrCat("sequence ", fork.sequence_id, " is a fork of itself"));
    }
  }
  return absl::OkStatus();
}

// Ranks may fare differently with their files, so nothing in such a step may
// depend on them.
absl::Status CheckParks(const Step& step) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("parks", SizeOf(step.parks), 0, kMaxParks));
  if (step.parks.empty()) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("slices of a step with parks", SizeOf(step.slices), 0, 0));
  return CheckRange("forks of a step with parks", SizeOf(step.forks), 0, 0);
}

absl::Status CheckSlice(const Slice& slice, int64_t vocab_size) {
  HEADWISE_RETURN_IF_ERROR(CheckRange("slice first_position",
                                      slice.first_position, 0, kMaxPosition));
  if (slice.use_last_sample && !slice.tokens.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "slice of sequence ", slice.sequence_id,
        " uses the last sample and has ", slice.tokens.size(), " tokens"));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("slice rows", slice.num_rows(), 1, kMaxStepTokens));
  for (const int32_t token : slice.tokens) {
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("slice token", token, 0, vocab_size - 1));
  }
  if (!slice.score_targets.empty()) {
    const auto num_targets = static_cast<int64_t>(slice.score_targets.size());
    HEADWISE_RETURN_IF_ERROR(CheckRange("slice score_targets", num_targets,
                                        slice.num_rows(), slice.num_rows()));
  }
  for (const int32_t target : slice.score_targets) {
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("slice score target", target, -1, vocab_size - 1));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("slice prompt_len", slice.prompt_len, 0, kMaxPosition));
  HEADWISE_RETURN_IF_ERROR(CheckProbe(slice.probe));
  return slice.sample ? CheckSampling(slice.sampling) : absl::OkStatus();
}

}  // namespace

absl::Status CheckConfig(const WorkerConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckBuild(config));
  if (config.membership_epoch == 0) {
    return absl::InvalidArgumentError("membership_epoch is 0, allowed 1 up");
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("world_size", config.world_size, 1, kMaxRanks));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("rank", config.rank, 0, config.world_size - 1));
  if (config.model_path.empty() || config.model_path.size() > kMaxPathBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("model_path has ", config.model_path.size(),
                     " bytes, allowed 1 to ", kMaxPathBytes));
  }
  if (config.model_sha256.size() != 0 && config.model_sha256.size() != 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("model_sha256 has ", config.model_sha256.size(),
                     " characters, allowed 0 or 64"));
  }
  if (config.group == GroupChoice::kAuto) {
    return absl::InvalidArgumentError(
        "group is auto, allowed in-process, shared-memory, gloo, nccl");
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("group_timeout_ms",
                 absl::ToInt64Milliseconds(config.group_timeout), 1, 600'000));
  HEADWISE_RETURN_IF_ERROR(CheckRange(
      "kv_capacity_bytes", config.kv_capacity_bytes, 0, kMaxKvBytes));
  return CheckRange("max_step_tokens", config.max_step_tokens, 1,
                    kMaxStepTokens);
}

absl::Status CheckShard(const WorkerConfig& config,
                        const Hyperparameters& hyper) {
  const WorkGrid grid = MakeWorkGrid(hyper);
  const Shard& shard = config.shard;
  const auto num_layers = static_cast<int64_t>(shard.layers.size());
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("shard layers", num_layers, grid.num_layers, grid.num_layers));
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const Shard::Layer& held = shard.layers[layer];
    HEADWISE_RETURN_IF_ERROR(CheckAscending(
        absl::StrCat("kv_heads of layer ", layer), held.units, grid.num_units));
    HEADWISE_RETURN_IF_ERROR(
        CheckAscending(absl::StrCat("mlp_tiles of layer ", layer),
                       held.mlp_tiles, grid.num_mlp_tiles));
  }
  const auto num_tiles = static_cast<int64_t>(shard.vocab_tile_rank.size());
  HEADWISE_RETURN_IF_ERROR(CheckRange("vocab_tile_rank", num_tiles,
                                      grid.num_vocab_tiles,
                                      grid.num_vocab_tiles));
  std::vector<int> expected;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int rank = shard.vocab_tile_rank[tile];
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("rank of a vocab tile", rank, 0, config.world_size - 1));
    if (rank == config.rank) expected.push_back(static_cast<int>(tile));
  }
  if (expected != shard.vocab_tiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_tiles has ", shard.vocab_tiles.size(),
                     " tiles, vocab_tile_rank gives this rank ",
                     expected.size(), "; they must be the same tiles"));
  }
  return absl::OkStatus();
}

absl::Status CheckStep(const Step& step, const Hyperparameters& hyper,
                       int64_t max_step_tokens) {
  int64_t num_rows = 0;
  int64_t probe_bytes = 0;
  for (const Slice& slice : step.slices) {
    HEADWISE_RETURN_IF_ERROR(CheckSlice(slice, hyper.vocab_size));
    num_rows += slice.num_rows();
    probe_bytes +=
        slice.num_rows() *
        ProbeBytesPerRow(slice.probe, hyper.num_layers * hyper.num_heads);
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("bytes of the step's probes", probe_bytes, 0, kMaxProbeBytes));
  HEADWISE_RETURN_IF_ERROR(CheckPlans(step, hyper));
  HEADWISE_RETURN_IF_ERROR(CheckForks(step));
  HEADWISE_RETURN_IF_ERROR(CheckParks(step));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("rows of the step", num_rows, 0, max_step_tokens));
  return CheckRange("free_sequence_ids",
                    static_cast<int64_t>(step.free_sequence_ids.size()), 0,
                    kMaxFreesPerStep);
}

}  // namespace headwise
