// From final rows to logits, log-probabilities and digests.

#ifndef HEADWISE_WORKER_EXECUTOR_VOCAB_HEAD_H_
#define HEADWISE_WORKER_EXECUTOR_VOCAB_HEAD_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "base/sha256.h"
#include "base/thread_team.h"
#include "model/model.h"
#include "model/work_grid.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/collectives/group.h"
#include "worker/executor/step_engine.h"

namespace headwise {

// What is wanted of one row.
struct VocabRow {
  int64_t row = 0;      // of the lane's batch
  bool logits = false;  // the whole row, for sampling
  bool score = false;   // log-probability of `target`
  int32_t target = -1;  // -1: none
  bool digest = false;  // SHA-256 of the row
};

// What a VocabHead works with; everything outlives it.
struct VocabHeadContext {
  const Model* model = nullptr;
  const Kernels* kernels = nullptr;
  ThreadTeam* team = nullptr;
  StepEngine* engine = nullptr;
};

struct VocabResult {
  int64_t logits_row = -1;  // in logits(), if wanted
  float logprob = 0.0f;
  Sha256Digest digest = {};
};

// Vocabulary rows are spread over ranks by tiles of kVocabTileWidth. A logit is
// one dot product, so nothing is summed over ranks: whole rows, or each tile's
// maximum, sum and digest, are gathered by every rank.
//
// The digest of a row is the SHA-256 of its tiles' digests in order, a tile's
// that of its fp32 logits, little-endian.
class VocabHead {
 public:
  // `vocab_tiles` of this rank, `vocab_tile_rank` [num_vocab_tiles].
  VocabHead(const VocabHeadContext& context, std::vector<int> vocab_tiles,
            std::vector<int> vocab_tile_rank);

  // Of rows of the lane's batch. OutOfRange, on every rank alike, if a logit of
  // them is not finite; other errors are the group's or the engine's.
  absl::Status Run(int64_t lane, const std::vector<VocabRow>& rows,
                   Group* group);

  const std::vector<VocabResult>& results() const { return results_; }
  // Row `i` of those whose logits were wanted, [vocab_size].
  absl::Span<const float> logits(int64_t i) const {
    return {logits_.data() + i * vocab_size_, static_cast<size_t>(vocab_size_)};
  }

 private:
  // What a tile contributes to one scored row; crosses the wire as bytes, of
  // worker.v1's protocol 1.
  struct TileScore {
    SoftmaxStats stats;  // the sum is NaN if a logit of the tile is not finite
    float target_logit = 0.0f;
    Sha256Digest digest = {};
  };
  static_assert(sizeof(TileScore) == 44);

  void RunTiles(int member);
  // The rank's tile number `local`.
  void FinishTile(int64_t local, const float* tile_logits);
  absl::Status Gather(Group* group, CollectiveUse* use);
  void AssembleLogits(int64_t row);
  void AssembleScore(int64_t row);
  int64_t TileWidth(int64_t tile) const;

  const VocabHeadContext context_;
  const std::vector<int> tiles_;      // of this rank
  const std::vector<int> tile_rank_;  // [num_vocab_tiles]
  std::vector<int64_t> tile_place_;   // index among its rank's tiles
  int64_t max_tiles_ = 0;             // of any rank
  const int64_t vocab_size_;

  const std::vector<VocabRow>* rows_ = nullptr;
  std::vector<int64_t> score_row_;  // [rows] index among scored ones, or -1
  int64_t num_logits_ = 0;
  int64_t num_scores_ = 0;
  // [ranks][max_tiles][num_logits][width], [ranks][max_tiles][num_scores]
  AlignedBuffer<float> my_logits_, all_logits_;
  std::vector<TileScore> my_scores_, all_scores_;
  AlignedBuffer<float> logits_;  // [num_logits][vocab_size]
  std::vector<VocabResult> results_;
  std::atomic<bool> is_finite_ = true;  // every logit, of all ranks
};

// Whether no value is NaN or infinite.
bool AllFinite(absl::Span<const float> values);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_VOCAB_HEAD_H_
