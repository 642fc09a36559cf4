#include "worker/executor/step_executor.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/executor/float_rows.h"
#include "worker/executor/sampler.h"
#include "worker/executor/step_batches.h"
#include "worker/executor/step_results.h"

namespace headwise {

StepExecutor::StepExecutor(StepExecutorParts parts)
    : model_(*parts.model),
      kernels_(*parts.kernels),
      output_norm_(FloatRow(model_.FindTensor("output_norm.weight"), 0,
                            model_.hyperparameters().model_dim)),
      block_bytes_(KvLayout{parts.sequences.default_element,
                            model_.hyperparameters().head_dim}
                       .block_bytes()),
      team_(std::move(parts.team)),
      engine_(std::move(parts.engine)),
      sequences_options_(std::move(parts.sequences)),
      sequences_(sequences_options_),
      parked_(std::move(parts.park_dir)),
      vocab_({&model_, &kernels_, team_.get(), engine_.get()},
             std::move(parts.vocab_tiles), std::move(parts.vocab_tile_rank)) {}

void StepExecutor::WantRows(const Step& step, const RowBatch& batch,
                            std::vector<VocabRow>* rows,
                            std::vector<RowPlace>* places) {
  for (const BatchPiece& piece : batch.pieces) {
    const Slice& slice = step.slices[piece.slice];
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      const int64_t slice_row = piece.first_slice_row + r;
      VocabRow row;
      row.row = piece.first_row + r;
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

void StepExecutor::SampleRow(const Slice& slice, int64_t logits_row,
                             SliceResult* result) {
  Sequence& sequence = sequences_.Get(slice.sequence_id);
  SampledToken sampled =
      Sample(kernels_, vocab_.logits(logits_row), sequence.tokens,
             slice.sampling, sequence.tokens.size());
  sequence.last_sample = sampled.token;
  result->has_token = true;
  result->token = sampled.token;
  result->logprob = sampled.logprob;
  result->top = std::move(sampled.top);
}

void StepExecutor::KeepResults(const Step& step,
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
absl::Status StepExecutor::KeepHidden(const Step& step, const RowBatch& batch,
                                      int64_t lane, StepResult* result) {
  const Hyperparameters& hyper = model_.hyperparameters();
  const int64_t n = hyper.model_dim;
  for (const BatchPiece& piece : batch.pieces) {
    if (!step.slices[piece.slice].embed) continue;
    std::vector<float>& hidden = result->results[piece.slice].hidden;
    std::vector<float> residual(static_cast<size_t>(piece.num_rows * n));
    HEADWISE_RETURN_IF_ERROR(engine_->CopyResidual(
        lane, piece.first_row, piece.num_rows, residual.data()));
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      float* row = hidden.data() + (piece.first_slice_row + r) * n;
      kernels_.rms_norm(residual.data() + r * n, output_norm_.data(),
                        hyper.norm_epsilon, n, row);
      if (!AllFinite({row, static_cast<size_t>(n)})) {
        return absl::OutOfRangeError("a hidden state is not finite");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status StepExecutor::RunBatches(const Step& step,
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

absl::Status StepExecutor::RunLanes(const Step& step,
                                    absl::Span<const RowBatch* const> batches,
                                    absl::Span<const PieceStates> pieces,
                                    StepResult* result) {
  HEADWISE_RETURN_IF_ERROR(engine_->RunLayers(batches, pieces, group_));
  for (size_t i = 0; i < batches.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(
        FinishBatch(step, *batches[i], static_cast<int64_t>(i), result));
    for (const BatchPiece& piece : batches[i]->pieces) {
      sequences_.Trim(piece.sequence_id);
    }
  }
  return absl::OkStatus();
}

absl::Status StepExecutor::FinishBatch(const Step& step, const RowBatch& batch,
                                       int64_t lane, StepResult* result) {
  if (!batch.is_contrast) {
    HEADWISE_RETURN_IF_ERROR(KeepHidden(step, batch, lane, result));
  }
  std::vector<VocabRow> rows;
  std::vector<RowPlace> places;
  WantRows(step, batch, &rows, &places);
  if (rows.empty()) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(vocab_.Run(lane, rows, group_));
  KeepResults(step, places, result);
  return absl::OkStatus();
}

absl::Status StepExecutor::Admit(const Step& step,
                                 std::vector<ParkOutcome>* parks) {
  sequences_.DropPlans(step.drop_plan_ids);
  HEADWISE_RETURN_IF_ERROR(sequences_.KeepPlans(step.plans));
  for (const NumberedPlan& plan : step.plans) engine_->PreparePlan(*plan.plan);
  for (const ParkRequest& request : step.parks) {
    parks->push_back(parked_.Apply(request, &sequences_));
  }
  HEADWISE_RETURN_IF_ERROR(sequences_.MakeForks(step.forks));
  const absl::Status status = sequences_.Check(step);
  if (status.ok()) return status;
  for (const Fork& fork : step.forks) sequences_.Free(fork.sequence_id);
  return status;
}

absl::StatusOr<StepResult> StepExecutor::Run(const Step& step) {
  HEADWISE_CHECK(group_ != nullptr);
  const absl::Time start = Clock::Monotonic().Now();
  const std::optional<absl::Duration> waited_before = group_->waited();
  for (uint64_t id : step.free_sequence_ids) {
    sequences_.Free(id);
    parked_.Erase(id);
  }
  HEADWISE_RETURN_IF_ERROR(engine_->Check(step));
  std::vector<ParkOutcome> parks;
  HEADWISE_RETURN_IF_ERROR(Admit(step, &parks));
  StepResult result =
      EmptyResult(step, model_.hyperparameters(), sequences_options_.units);
  result.parks = std::move(parks);
  for (int64_t lane = 0; lane < StepEngine::kMaxLanes; ++lane) {
    engine_->collective_use(lane) = {};
  }
  const std::vector<RowBatch> batches = CutIntoBatches(step, &sequences_);
  // Alone there is nobody to wait for, and one batch stays in the cache.
  // So it is where partials are gathered: between the halves of a sum no other
  // call may be made.
  const size_t num_lanes =
      group_->world_size() > 1 && !sequences_options_.has_cuts
          ? StepEngine::kMaxLanes
          : 1;
  for (size_t i = 0; i < batches.size(); i += num_lanes) {
    HEADWISE_RETURN_IF_ERROR(RunBatches(
        step, absl::MakeConstSpan(batches).subspan(i, num_lanes), &result));
  }
  CollectiveUse use;
  for (int64_t lane = 0; lane < StepEngine::kMaxLanes; ++lane) {
    const CollectiveUse& of_lane = engine_->collective_use(lane);
    use.time += of_lane.time;
    use.bytes += of_lane.bytes;
    use.count += of_lane.count;
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

}  // namespace headwise
