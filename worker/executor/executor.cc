#include "worker/executor/executor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "worker/executor/executor_setup.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/parked_files.h"
#include "worker/executor/sampler.h"
#include "worker/executor/sequences.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/step_batches.h"
#include "worker/executor/step_results.h"
#include "worker/executor/vocab_head.h"
#include "worker/executor/weight_check.h"

namespace headwise {
namespace {

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(const Model& model, Shard shard, const ExecutorOptions& options,
              std::unique_ptr<ThreadTeam> team, ShardWeights weights)
      : model_(model),
        team_(std::move(team)),
        weights_(std::move(weights)),
        rotations_(model.hyperparameters().rope, KernelsFor(options.isa)),
        context_{&model,      &weights_,   &KernelsFor(options.isa),
                 team_.get(), &rotations_, options.reduction},
        block_bytes_(KvLayout{options.kv_type, model.hyperparameters().head_dim}
                         .block_bytes()),
        sequences_options_(SequencesOf(model, shard, options)),
        sequences_(sequences_options_),
        parked_(options.park_dir),
        lanes_{LayerRunner(context_), LayerRunner(context_)},
        vocab_(context_, std::move(shard.vocab_tile_rank)) {}

  void SetGroup(Group* group) override { group_ = group; }
  absl::StatusOr<StepResult> Run(const Step& step) override;
  absl::Status CheckWeights(int64_t max_bytes) override {
    return check_.Check(max_bytes);
  }

  int64_t weight_bytes() const override { return weights_.bytes; }
  int64_t loaded_weight_bytes() const override { return weights_.loaded_bytes; }
  int64_t kv_capacity_blocks() const override {
    return sequences_.book().capacity_bytes() / block_bytes_;
  }
  int64_t kv_blocks_used() const override {
    return sequences_.book().used_bytes() / block_bytes_;
  }
  int64_t kv_bytes_used() const override {
    return sequences_.book().used_bytes();
  }

 private:
  // Plans, forks and checks: all that may refuse a step; and its parks.
  absl::Status Admit(const Step& step, std::vector<ParkOutcome>* parks);
  // One batch for each of the first lanes.
  absl::Status RunBatches(const Step& step, absl::Span<const RowBatch> batches,
                          StepResult* result);
  // Batches of one first layer, each on a lane of its own.
  absl::Status RunLanes(const Step& step,
                        absl::Span<const RowBatch* const> batches,
                        absl::Span<const PieceStates> pieces,
                        StepResult* result);
  absl::Status FinishBatch(const Step& step, const RowBatch& batch,
                           LayerRunner& lane, StepResult* result);
  // Where in the result a row that the vocabulary head ran belongs.
  struct RowPlace {
    int64_t slice;
    int64_t slice_row;
    bool is_contrast;
  };
  void WantRows(const Step& step, const RowBatch& batch, const float* residual,
                std::vector<VocabRow>* rows, std::vector<RowPlace>* places);
  void KeepResults(const Step& step, const std::vector<RowPlace>& places,
                   StepResult* result);
  void SampleRow(const Slice& slice, int64_t logits_row, SliceResult* result);
  absl::Status KeepHidden(const Step& step, const RowBatch& batch,
                          const float* residual, StepResult* result);

  const Model& model_;
  const std::unique_ptr<ThreadTeam> team_;
  const ShardWeights weights_;
  WeightCheck check_{weights_};
  RotationTable rotations_;
  const LayerRunnerContext context_;
  const int64_t block_bytes_;  // of the default type
  const SequencesOptions sequences_options_;
  Sequences sequences_;
  ParkedFiles parked_;
  std::array<LayerRunner, 2> lanes_;
  VocabHead vocab_;
  Group* group_ = nullptr;
};

void CpuExecutor::WantRows(const Step& step, const RowBatch& batch,
                           const float* residual, std::vector<VocabRow>* rows,
                           std::vector<RowPlace>* places) {
  const int64_t n = model_.hyperparameters().model_dim;
  for (const BatchPiece& piece : batch.pieces) {
    const Slice& slice = step.slices[piece.slice];
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      const int64_t slice_row = piece.first_slice_row + r;
      VocabRow row;
      row.residual = residual + (piece.first_row + r) * n;
      if (!slice.score_targets.empty()) {
        row.target = slice.score_targets[slice_row];
        row.score = row.target >= 0;
      }
      if (!batch.is_contrast) {
        row.logits = slice.sample && slice_row + 1 == slice.num_rows();
        row.digest = slice.hash_logits;
      }
      if (!row.logits && !row.score && !row.digest) continue;
      rows->push_back(row);
      places->push_back({piece.slice, slice_row, batch.is_contrast});
    }
  }
}

void CpuExecutor::SampleRow(const Slice& slice, int64_t logits_row,
                            SliceResult* result) {
  Sequence& sequence = sequences_.Get(slice.sequence_id);
  SampledToken sampled =
      Sample(*context_.kernels, vocab_.logits(logits_row), sequence.tokens,
             slice.sampling, sequence.tokens.size());
  sequence.last_sample = sampled.token;
  result->has_token = true;
  result->token = sampled.token;
  result->logprob = sampled.logprob;
  result->top = std::move(sampled.top);
}

void CpuExecutor::KeepResults(const Step& step,
                              const std::vector<RowPlace>& places,
                              StepResult* result) {
  for (size_t i = 0; i < places.size(); ++i) {
    const VocabResult& row = vocab_.results()[i];
    const Slice& slice = step.slices[places[i].slice];
    SliceResult& out = result->results[places[i].slice];
    if (places[i].is_contrast) {
      out.contrast_logprobs[places[i].slice_row] = row.logprob;
      continue;
    }
    if (row.logits_row >= 0) SampleRow(slice, row.logits_row, &out);
    if (!slice.score_targets.empty()) {
      out.score_logprobs[places[i].slice_row] = row.logprob;
    }
    if (slice.hash_logits) {
      out.logits_digests[places[i].slice_row] = row.digest;
    }
  }
}

// OutOfRange if a value is not finite: on every rank alike, as all hold the
// same residual stream.
absl::Status CpuExecutor::KeepHidden(const Step& step, const RowBatch& batch,
                                     const float* residual,
                                     StepResult* result) {
  const Hyperparameters& hyper = model_.hyperparameters();
  const int64_t n = hyper.model_dim;
  for (const BatchPiece& piece : batch.pieces) {
    if (!step.slices[piece.slice].embed) continue;
    std::vector<float>& hidden = result->results[piece.slice].hidden;
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      float* row = hidden.data() + (piece.first_slice_row + r) * n;
      context_.kernels->rms_norm(residual + (piece.first_row + r) * n,
                                 weights_.output_norm.data(),
                                 hyper.norm_epsilon, n, row);
      if (!AllFinite({row, static_cast<size_t>(n)})) {
        return absl::OutOfRangeError("a hidden state is not finite");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CpuExecutor::RunBatches(const Step& step,
                                     absl::Span<const RowBatch> batches,
                                     StepResult* result) {
  for (const RowBatch& batch : batches) {
    for (const BatchPiece& piece : batch.pieces) {
      sequences_.Extend(piece.sequence_id, piece.num_rows);
    }
  }
  std::array<PieceStates, 2> pieces;
  absl::InlinedVector<const RowBatch*, 2> of_step;
  for (size_t i = 0; i < batches.size(); ++i) {
    for (const BatchPiece& piece : batches[i].pieces) {
      const ProbeRequest& probe = step.slices[piece.slice].probe;
      pieces[i].push_back({&sequences_.Get(piece.sequence_id).kv,
                           probe.empty() ? nullptr : &probe,
                           &result->results[piece.slice].probes});
    }
    of_step.push_back(&batches[i]);
  }
  const std::vector<ContrastBatch> contrasts =
      MakeContrasts(batches, model_.hyperparameters().model_dim, &sequences_,
                    absl::MakeSpan(pieces));
  HEADWISE_RETURN_IF_ERROR(RunLanes(step, of_step, pieces, result));
  for (size_t i = 0; i < contrasts.size();) {
    std::array<PieceStates, 2> states;
    absl::InlinedVector<const RowBatch*, 2> of_layer;
    const int64_t layer = contrasts[i].batch.first_layer;
    for (; i < contrasts.size() && contrasts[i].batch.first_layer == layer;
         ++i) {
      for (const BatchPiece& piece : contrasts[i].batch.pieces) {
        states[of_layer.size()].push_back(
            {&sequences_.Get(piece.sequence_id).kv});
      }
      of_layer.push_back(&contrasts[i].batch);
    }
    HEADWISE_RETURN_IF_ERROR(RunLanes(step, of_layer, states, result));
  }
  return absl::OkStatus();
}

absl::Status CpuExecutor::RunLanes(const Step& step,
                                   absl::Span<const RowBatch* const> batches,
                                   absl::Span<const PieceStates> pieces,
                                   StepResult* result) {
  absl::InlinedVector<LayerRunner*, 2> runners;
  for (size_t i = 0; i < batches.size(); ++i) {
    lanes_[i].SetBatch(*batches[i], pieces[i], group_);
    runners.push_back(&lanes_[i]);
  }
  HEADWISE_RETURN_IF_ERROR(RunLayers(runners));
  for (size_t i = 0; i < batches.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(FinishBatch(step, *batches[i], lanes_[i], result));
    for (const BatchPiece& piece : batches[i]->pieces) {
      sequences_.Trim(piece.sequence_id);
    }
  }
  return absl::OkStatus();
}

absl::Status CpuExecutor::FinishBatch(const Step& step, const RowBatch& batch,
                                      LayerRunner& lane, StepResult* result) {
  if (!batch.is_contrast) {
    HEADWISE_RETURN_IF_ERROR(KeepHidden(step, batch, lane.residual(), result));
  }
  std::vector<VocabRow> rows;
  std::vector<RowPlace> places;
  WantRows(step, batch, lane.residual(), &rows, &places);
  if (rows.empty()) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(vocab_.Run(rows, group_, &lane.collective_use()));
  KeepResults(step, places, result);
  return absl::OkStatus();
}

absl::Status CpuExecutor::Admit(const Step& step,
                                std::vector<ParkOutcome>* parks) {
  sequences_.DropPlans(step.drop_plan_ids);
  HEADWISE_RETURN_IF_ERROR(sequences_.KeepPlans(step.plans));
  for (const NumberedPlan& plan : step.plans) {
    for (const UnitPolicy& unit : plan.plan->units) {
      rotations_.Reserve(RotationTableSize(unit));
    }
  }
  for (const ParkRequest& request : step.parks) {
    parks->push_back(parked_.Apply(request, &sequences_));
  }
  HEADWISE_RETURN_IF_ERROR(sequences_.MakeForks(step.forks));
  const absl::Status status = sequences_.Check(step);
  if (status.ok()) return status;
  for (const Fork& fork : step.forks) sequences_.Free(fork.sequence_id);
  return status;
}

absl::StatusOr<StepResult> CpuExecutor::Run(const Step& step) {
  HEADWISE_CHECK(group_ != nullptr);
  const absl::Time start = Clock::Monotonic().Now();
  const std::optional<absl::Duration> waited_before = group_->waited();
  for (uint64_t id : step.free_sequence_ids) {
    sequences_.Free(id);
    parked_.Erase(id);
  }
  std::vector<ParkOutcome> parks;
  HEADWISE_RETURN_IF_ERROR(Admit(step, &parks));
  StepResult result =
      EmptyResult(step, model_.hyperparameters(), sequences_options_.units);
  result.parks = std::move(parks);
  for (LayerRunner& lane : lanes_) lane.collective_use() = {};
  const std::vector<RowBatch> batches = CutIntoBatches(step, &sequences_);
  // Alone there is nobody to wait for, and one batch stays in the cache.
  // So it is where partials are gathered: between the halves of a sum no other
  // call may be made.
  const size_t num_lanes =
      group_->world_size() > 1 && !sequences_options_.has_cuts ? lanes_.size()
                                                               : 1;
  for (size_t i = 0; i < batches.size(); i += num_lanes) {
    HEADWISE_RETURN_IF_ERROR(RunBatches(
        step, absl::MakeConstSpan(batches).subspan(i, num_lanes), &result));
  }
  CollectiveUse use;
  for (LayerRunner& lane : lanes_) {
    use.time += lane.collective_use().time;
    use.bytes += lane.collective_use().bytes;
    use.count += lane.collective_use().count;
  }
  result.collective_seconds = absl::ToDoubleSeconds(use.time);
  result.collective_bytes = use.bytes;
  result.num_collectives = use.count;
  if (waited_before.has_value()) {
    result.wait_seconds =
        absl::ToDoubleSeconds(*group_->waited() - *waited_before);
  }
  result.compute_seconds =
      absl::ToDoubleSeconds(Clock::Monotonic().Now() - start - use.time);
  result.draws_digest = DrawsDigest(result);
  if (group_->rank() != 0) KeepProbesOnly(&result);
  return result;
}

}  // namespace

int64_t MaxSumBytes(const Hyperparameters& hyper) {
  return (kMaxBatchRows * hyper.model_dim + 1) *
         static_cast<int64_t>(sizeof(int64_t));
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(
    const Model& model, Shard shard, const ExecutorOptions& options,
    std::function<bool(double)> progress) {
  if (options.num_threads < 1 || options.num_threads > 1024) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads ", options.num_threads, " is not in [1, 1024]"));
  }
  if (model.hyperparameters().titans && HasCuts(shard)) {
    return absl::UnimplementedError(
        "the contexts of titans models are not cut over ranks");
  }
  const WorkGrid grid = MakeWorkGrid(model.hyperparameters());
  if (static_cast<int64_t>(shard.vocab_tile_rank.size()) !=
      grid.num_vocab_tiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_tile_rank has ", shard.vocab_tile_rank.size(),
                     " entries, the model ", grid.num_vocab_tiles, " tiles"));
  }
  // A sum of n exact contributions below 2^51 each must stay below 2^63.
  if (grid.num_units + grid.num_mlp_tiles > 4096) {
    return absl::UnimplementedError(absl::StrCat(
        "a layer of ", grid.num_units, " KV heads and ", grid.num_mlp_tiles,
        " MLP tiles has more than 4096 terms in an exact sum"));
  }
  ExecutorOptions bounded = options;
  HEADWISE_ASSIGN_OR_RETURN(bounded.kv_capacity_bytes,
                            KvBytesBeside(model, shard, options));
  auto team =
      std::make_unique<ThreadTeam>(options.num_threads, options.pin_to_cpus);
  HEADWISE_ASSIGN_OR_RETURN(
      ShardWeights weights,
      PackShard(model, shard, *team, progress,
                options.held == nullptr ? nullptr : options.held->weights()));
  return std::make_unique<CpuExecutor>(model, std::move(shard), bounded,
                                       std::move(team), std::move(weights));
}

}  // namespace headwise
