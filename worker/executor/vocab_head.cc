#include "worker/executor/vocab_head.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/executor/sampler.h"

namespace headwise {
namespace {

template <typename T>
absl::Span<const uint8_t> BytesOf(const T* data, int64_t count) {
  return {reinterpret_cast<const uint8_t*>(data),
          static_cast<size_t>(count) * sizeof(T)};
}
template <typename T>
absl::Span<uint8_t> MutableBytesOf(T* data, int64_t count) {
  return {reinterpret_cast<uint8_t*>(data),
          static_cast<size_t>(count) * sizeof(T)};
}

}  // namespace

bool AllFinite(absl::Span<const float> values) {
  // On bits, since the compiler makes vectors of that and not of isfinite.
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t num_bad = 0;
  for (const float value : values) {
    num_bad += (std::bit_cast<uint32_t>(value) & kExponent) == kExponent;
  }
  return num_bad == 0;
}

VocabHead::VocabHead(const VocabHeadContext& context,
                     std::vector<int> vocab_tiles,
                     std::vector<int> vocab_tile_rank)
    : context_(context),
      tiles_(std::move(vocab_tiles)),
      tile_rank_(std::move(vocab_tile_rank)),
      vocab_size_(context.model->hyperparameters().vocab_size) {
  std::vector<int64_t> counts;
  for (int rank : tile_rank_) {
    if (rank >= static_cast<int>(counts.size())) counts.resize(rank + 1);
    tile_place_.push_back(counts[rank]++);
    max_tiles_ = std::max(max_tiles_, counts[rank]);
  }
}

int64_t VocabHead::TileWidth(int64_t tile) const {
  return std::min(kVocabTileWidth, vocab_size_ - tile * kVocabTileWidth);
}

absl::Status VocabHead::Run(int64_t lane, const std::vector<VocabRow>& rows,
                            Group* group) {
  rows_ = &rows;
  const auto num_rows = static_cast<int64_t>(rows.size());
  results_.assign(rows.size(), {});
  score_row_.assign(rows.size(), -1);
  num_logits_ = 0;
  num_scores_ = 0;
  std::vector<int64_t> batch_rows;
  for (int64_t i = 0; i < num_rows; ++i) {
    batch_rows.push_back(rows[i].row);
    if (rows[i].logits) results_[i].logits_row = num_logits_++;
    if (rows[i].score || rows[i].digest) score_row_[i] = num_scores_++;
  }
  my_logits_.Reserve(max_tiles_ * num_logits_ * kVocabTileWidth);
  my_scores_.assign(static_cast<size_t>(max_tiles_ * num_scores_), {});
  HEADWISE_RETURN_IF_ERROR(context_.engine->StartLogits(lane, batch_rows));
  context_.team->Run([this](int member) {
    context_.engine->PrepareLogits(member);
    context_.team->Barrier();
    RunTiles(member);
  });
  HEADWISE_RETURN_IF_ERROR(
      Gather(group, &context_.engine->collective_use(lane)));
  logits_.Reserve(num_logits_ * vocab_size_);
  is_finite_ = true;
  context_.team->Run([this, num_rows](int member) {
    const PartRange part =
        PartOf(num_rows, member, context_.team->num_threads());
    for (int64_t row = part.begin; row < part.end; ++row) {
      if (results_[row].logits_row >= 0) AssembleLogits(row);
      if (score_row_[row] >= 0) AssembleScore(row);
    }
  });
  // All ranks hold the same bytes, so all say so.
  if (!is_finite_) return absl::OutOfRangeError("a logit is not finite");
  return absl::OkStatus();
}

void VocabHead::RunTiles(int member) {
  const PartRange part = PartOf(static_cast<int64_t>(tiles_.size()), member,
                                context_.team->num_threads());
  for (int64_t t = part.begin; t < part.end; ++t) {
    FinishTile(t, context_.engine->TileLogits(member, t));
  }
}

void VocabHead::FinishTile(int64_t local, const float* tile_logits) {
  const int64_t width = TileWidth(tiles_[local]);
  const int64_t first_token = tiles_[local] * kVocabTileWidth;
  for (size_t row = 0; row < rows_->size(); ++row) {
    const float* logits =
        tile_logits + static_cast<int64_t>(row) * kVocabTileWidth;
    if (results_[row].logits_row >= 0) {
      std::memcpy(
          my_logits_.data() + (local * num_logits_ + results_[row].logits_row) *
                                  kVocabTileWidth,
          logits, static_cast<size_t>(width) * sizeof(float));
    }
    if (score_row_[row] < 0) continue;
    TileScore& score = my_scores_[local * num_scores_ + score_row_[row]];
    const VocabRow& wanted = (*rows_)[row];
    if (wanted.score) {
      score.stats = context_.kernels->softmax_stats(logits, width);
      const int64_t target = wanted.target - first_token;
      if (0 <= target && target < width) score.target_logit = logits[target];
    }
    if (wanted.digest) score.digest = Sha256Of(BytesOf(logits, width));
    if (!AllFinite({logits, static_cast<size_t>(width)})) {
      score.stats.sum = std::nanf("");
    }
  }
}

absl::Status VocabHead::Gather(Group* group, CollectiveUse* use) {
  const int64_t logits = max_tiles_ * num_logits_ * kVocabTileWidth;
  const int64_t scores = max_tiles_ * num_scores_;
  const int64_t world = group->world_size();
  if (world == 1) {
    std::swap(my_logits_, all_logits_);
    std::swap(my_scores_, all_scores_);
    return absl::OkStatus();
  }
  const absl::Time start = Clock::Monotonic().Now();
  if (logits > 0) {
    all_logits_.Reserve(world * logits);
    HEADWISE_RETURN_IF_ERROR(
        group->AllGather(BytesOf(my_logits_.data(), logits),
                         MutableBytesOf(all_logits_.data(), world * logits)));
    ++use->count;
  }
  if (scores > 0) {
    all_scores_.resize(static_cast<size_t>(world * scores));
    HEADWISE_RETURN_IF_ERROR(
        group->AllGather(BytesOf(my_scores_.data(), scores),
                         MutableBytesOf(all_scores_.data(), world * scores)));
    ++use->count;
  }
  use->bytes += logits * 4 + scores * static_cast<int64_t>(sizeof(TileScore));
  use->time += Clock::Monotonic().Now() - start;
  return absl::OkStatus();
}

void VocabHead::AssembleLogits(int64_t row) {
  const int64_t at = results_[row].logits_row;
  for (size_t t = 0; t < tile_rank_.size(); ++t) {
    const int64_t from =
        ((tile_rank_[t] * max_tiles_ + tile_place_[t]) * num_logits_ + at) *
        kVocabTileWidth;
    const auto tile = static_cast<int64_t>(t);
    const auto width = static_cast<size_t>(TileWidth(tile));
    std::memcpy(logits_.data() + at * vocab_size_ + tile * kVocabTileWidth,
                all_logits_.data() + from, width * sizeof(float));
    if (!AllFinite({all_logits_.data() + from, width})) is_finite_ = false;
  }
}

void VocabHead::AssembleScore(int64_t row) {
  const VocabRow& wanted = (*rows_)[row];
  std::vector<SoftmaxStats> stats;
  Sha256 digest;
  float target_logit = 0.0f;
  for (size_t t = 0; t < tile_rank_.size(); ++t) {
    const TileScore& score =
        all_scores_[(tile_rank_[t] * max_tiles_ + tile_place_[t]) *
                        num_scores_ +
                    score_row_[row]];
    stats.push_back(score.stats);
    if (!std::isfinite(score.stats.sum)) is_finite_ = false;
    if (wanted.digest) digest.Update(score.digest);
    if (wanted.target / kVocabTileWidth == static_cast<int64_t>(t)) {
      target_logit = score.target_logit;
    }
  }
  if (wanted.score && wanted.target >= 0) {
    results_[row].logprob =
        target_logit - LogSumExpOfTiles(*context_.kernels, stats);
  }
  if (wanted.digest) results_[row].digest = digest.Finish();
}

}  // namespace headwise
