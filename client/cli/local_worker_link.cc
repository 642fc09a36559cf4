#include "client/cli/local_worker_link.h"

#include <utility>

#include "base/status_macros.h"

namespace headwise {
namespace {

WorkerGroupKind KindOf(GroupChoice choice) {
  switch (choice) {
    case GroupChoice::kGloo:
      return WorkerGroupKind::kGloo;
    case GroupChoice::kSharedMemory:
      return WorkerGroupKind::kSharedMemory;
    default:
      return WorkerGroupKind::kInProcess;
  }
}

absl::StatusOr<WorkerConfig> ConfigOf(PrepareOrder order) {
  WorkerConfig config;
  config.membership_epoch = order.membership_epoch;
  config.model_path = std::move(order.model_path);
  config.model_sha256 = std::move(order.model_sha256);
  config.rank = order.rank;
  config.world_size = order.world_size;
  for (RankShard::Layer& layer : order.shard.layers) {
    config.shard.layers.push_back(
        {std::move(layer.units), std::move(layer.mlp_tiles)});
  }
  config.shard.vocab_tiles = std::move(order.shard.vocab_tiles);
  config.shard.vocab_tile_rank = std::move(order.vocab_tile_rank);
  config.group_kind = KindOf(order.group);
  config.group_timeout = order.group_timeout;
  config.reduction =
      order.fast_reduction ? ReductionMode::kFast : ReductionMode::kExact;
  HEADWISE_ASSIGN_OR_RETURN(config.kv_type, ParseKvType(order.kv_type));
  config.kv_capacity_bytes = order.kv_capacity_bytes;
  config.max_step_tokens = order.max_step_tokens;
  return config;
}

SamplingOptions SamplingOf(const SamplingPlan& plan) {
  SamplingOptions out;
  out.temperature = plan.temperature;
  out.top_k = plan.top_k;
  out.top_p = plan.top_p;
  out.min_p = plan.min_p;
  out.repetition_penalty = plan.repetition_penalty;
  out.seed = plan.seed;
  out.top_logprobs = plan.top_logprobs;
  out.logprobs = plan.logprobs;
  return out;
}

Step StepOf(const StepPlan& plan) {
  Step step;
  step.step_id = plan.step_id;
  step.slices.reserve(plan.slices.size());
  for (const SlicePlan& in : plan.slices) {
    Slice slice;
    slice.sequence_id = in.sequence_id;
    slice.first_position = in.first_position;
    slice.tokens = in.tokens;
    slice.use_last_sample = in.use_last_sample;
    slice.sample = in.sample;
    slice.sampling = SamplingOf(in.sampling);
    slice.score_targets = in.score_targets;
    slice.hash_logits = in.hash_logits;
    slice.embed = in.embed;
    step.slices.push_back(std::move(slice));
  }
  step.free_sequence_ids = plan.free_sequence_ids;
  return step;
}

SliceOutcome OutcomeOf(SliceResult result) {
  SliceOutcome out;
  out.sequence_id = result.sequence_id;
  out.has_token = result.has_token;
  out.token = result.token;
  out.logprob = result.logprob;
  for (const RankedToken& top : result.top) {
    out.top.push_back({top.token, top.logprob});
  }
  out.score_logprobs = std::move(result.score_logprobs);
  out.logits_digests.assign(result.logits_digests.begin(),
                            result.logits_digests.end());
  out.hidden = std::move(result.hidden);
  return out;
}

RankStepResult RankResultOf(uint64_t membership_epoch, uint64_t step_id,
                            absl::StatusOr<StepResult> result) {
  RankStepResult out;
  out.membership_epoch = membership_epoch;
  out.step_id = step_id;
  out.status = result.status();
  if (!result.ok()) return out;
  for (SliceResult& slice : result->results) {
    out.slices.push_back(OutcomeOf(std::move(slice)));
  }
  out.compute_seconds = result->compute_seconds;
  out.collective_seconds = result->collective_seconds;
  out.collective_bytes = result->collective_bytes;
  out.num_collectives = result->num_collectives;
  out.kv_blocks_used = result->kv_blocks_used;
  return out;
}

}  // namespace

void LocalWorkerLink::Probe(absl::Duration timeout,
                            std::function<void(absl::Status)> done) {
  done(absl::OkStatus());
}

void LocalWorkerLink::Prepare(
    PrepareOrder order, absl::Duration timeout,
    std::function<void(double)> progress,
    std::function<void(absl::StatusOr<PreparedRank>)> done) {
  absl::StatusOr<WorkerConfig> config = ConfigOf(std::move(order));
  absl::Status started = config.status();
  if (started.ok()) {
    started = node_.Prepare(
        *std::move(config),
        [progress = std::move(progress)](double value) {
          if (progress) progress(value);
          return true;
        },
        [done](absl::StatusOr<PreparedShard> prepared) {
          if (!prepared.ok()) {
            done(prepared.status());
            return;
          }
          done(PreparedRank{prepared->endpoint, prepared->weight_bytes,
                            prepared->kv_capacity_blocks});
        });
  }
  if (!started.ok()) done(started);
}

void LocalWorkerLink::Join(uint64_t membership_epoch,
                           std::vector<std::string> endpoints,
                           absl::Duration timeout,
                           std::function<void(absl::Status)> done) {
  const absl::Status started =
      node_.Join(membership_epoch, std::move(endpoints), done);
  if (!started.ok()) done(started);
}

void LocalWorkerLink::OpenSteps(uint64_t membership_epoch,
                                StepListener listener) {
  CloseSteps();
  const absl::Status claimed = node_.ClaimSteps(membership_epoch);
  if (!claimed.ok()) {
    listener.on_broken(claimed);
    return;
  }
  absl::MutexLock lock(&mutex_);
  stream_ = std::make_shared<Stream>(membership_epoch, std::move(listener));
}

void LocalWorkerLink::SendStep(uint64_t membership_epoch,
                               std::shared_ptr<const StepPlan> plan) {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream = stream_;
  }
  if (stream == nullptr || stream->membership_epoch != membership_epoch) {
    return;
  }
  const absl::Status started = node_.RunStep(
      membership_epoch, StepOf(*plan),
      [stream, step_id = plan->step_id](absl::StatusOr<StepResult> result) {
        if (stream->closed) return;
        stream->listener.on_result(
            RankResultOf(stream->membership_epoch, step_id, std::move(result)));
      });
  // Only a node that shuts down, or a queue far beyond kMaxStepsInFlight.
  if (!started.ok()) stream->listener.on_broken(started);
}

void LocalWorkerLink::CloseSteps() {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream.swap(stream_);
  }
  if (stream == nullptr) return;
  stream->closed = true;
  node_.AbortGroup(stream->membership_epoch,
                   absl::UnavailableError("the stream of steps ended"));
}

}  // namespace headwise
