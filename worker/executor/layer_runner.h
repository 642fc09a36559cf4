// Takes a batch of rows through the layers of one rank's shard.

#ifndef HEADWISE_WORKER_EXECUTOR_LAYER_RUNNER_H_
#define HEADWISE_WORKER_EXECUTOR_LAYER_RUNNER_H_

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/thread_team.h"
#include "model/model.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/collectives/group.h"
#include "worker/executor/block_store.h"
#include "worker/executor/quantized_buffer.h"
#include "worker/executor/row_batch.h"
#include "worker/executor/shard_weights.h"

namespace headwise {

// What collectives cost since it was last reset.
struct CollectiveUse {
  absl::Duration time;  // waiting for peers and transfer
  int64_t bytes = 0;
  int64_t count = 0;
};

// What a LayerRunner works with; everything outlives it.
struct LayerRunnerContext {
  const Model* model = nullptr;
  const ShardWeights* weights = nullptr;
  const Kernels* kernels = nullptr;
  ThreadTeam* team = nullptr;
  KvLayout layout;
  ReductionMode reduction = ReductionMode::kExact;
};

// A sequence's blocks in position order, for each unit of the rank over all
// layers. Covers the positions of the batch that it is used for.
using BlockTables = std::vector<std::vector<uint8_t*>>;
// One per piece of a batch.
using BatchBlocks = std::vector<const BlockTables*>;

// One batch on its way through the layers. A layer is six phases with a barrier
// after each: queries, keys and values; attention; output rows, added exactly;
// (all-reduce); gate and up; down, added exactly; (all-reduce). Norms, residual
// sums and conversions to int8 happen at the head of the next phase: by every
// thread for all rows if there are few (each keeps its own copy, which saves a
// barrier), else shared out by rows.
class LayerRunner {
 public:
  explicit LayerRunner(const LayerRunnerContext& context);

  // The batch that RunLayers takes through next; all must outlive that.
  void SetBatch(const RowBatch& batch, const BatchBlocks& blocks, Group* group);

  // Residual stream after RunLayers, [num_rows][model_dim].
  const float* residual() const;
  CollectiveUse& collective_use() { return collective_use_; }

 private:
  friend class LayerTurns;

  // Rows as they go from phase to phase: one copy for all threads, or one each.
  struct Rows {
    AlignedBuffer<float> residual;  // [rows][model_dim]
    AlignedBuffer<float> normed;    // [rows][model_dim]
    QuantizedBuffer normed_q;
    AlignedBuffer<float> mixed;            // [units][rows][g * head_dim]
    std::vector<QuantizedBuffer> mixed_q;  // [units] of [rows][g * head_dim]
  };
  // What belongs to one thread.
  struct alignas(64) Member {
    Rows rows;
    AlignedBuffer<float> head;      // [rows][2 * head_dim], or 3 x [rows][32]
    AlignedBuffer<float> attend;    // scratch of the kernel
    AlignedBuffer<float> part_out;  // [span rows * g][head_dim]
    AlignedBuffer<float> part_lse;
    AlignedBuffer<float> lse;
    std::vector<int64_t> visible;
    int not_exact[2] = {0, 0};  // after attention, after the MLP
  };

  void Reserve(const RowBatch& batch);
  // The halves of a layer, up to the sums of this rank.
  void Attention(int member, int64_t layer);
  void Mlp(int member, int64_t layer);
  Rows& RowsOf(int member) {
    return every_member_ ? members_[member]->rows : shared_;
  }
  // Rows that a member prepares.
  PartRange PartOfRows(int member) const;
  void Embed(int member);
  void AddResidual(int member);
  void NormRows(int member, const std::vector<float>& weight);

  // layer_attention.cc
  void ProjectHeads(int member, int64_t layer);
  void ProjectQuery(Member& self, const Rows& rows, int64_t layer, int64_t unit,
                    int64_t head);
  void ProjectKeyValue(Member& self, const Rows& rows, int64_t layer,
                       int64_t unit);
  void Rotate(int64_t row, float* head) const;
  void AttendSpans(int member, int64_t layer);
  void AttendSpanOf(Member& self, const AttendSpan& span, int64_t layer,
                    int64_t unit);
  void AttendWhole(Member& self, const AttendSpan& span, AttendArgs args,
                   float* out);
  void MixRows(int member, int64_t layer);
  void ProjectOutput(int member, int64_t layer);

  // layer_mlp.cc
  void GateUp(int member, int64_t layer);
  void GateUpBlock(Member& self, const Rows& rows, const MlpTileWeights& tile,
                   int64_t tile_index, int64_t block);
  void Down(int member, int64_t layer);

  // Matrix product of rows that are float and int8 at once, whichever the
  // weights take.
  struct Product {
    const PackedMatrix* weights = nullptr;
    QuantizedRows quantized;
    const float* x = nullptr;
    int64_t x_stride = 0;
    PartRange groups;
  };
  MatMulArgs ProductArgs(const Product& product) const;
  void Multiply(const Product& product, float* out, int64_t out_stride) const;
  void MultiplyAndAdd(const Product& product, int* not_exact);
  void ClearSums(PartRange groups);
  // Ends a phase that added to the sums, and hands them to the group. `phase`
  // is 0 after attention, 1 after the MLP.
  void StartSums(int member, int phase);
  // Waits for the sums of all ranks. False if the batch failed, then for every
  // member.
  bool FinishSums(int member, int64_t layer, int phase);
  absl::Status StartReduce(int phase);
  absl::Status FinishReduce(int64_t layer);
  absl::Span<int64_t> ExactSums();

  const LayerRunnerContext context_;
  const Hyperparameters& hyper_;
  const Kernels& kernels_;
  const RopeFrequencies rope_;
  const int64_t num_threads_;
  const float softmax_scale_;
  const int64_t tile_width_;         // of the MLP
  std::vector<int64_t> first_unit_;  // [layers] index in the rank's units
  int64_t max_units_ = 0;            // of a layer
  int64_t max_tiles_ = 0;

  // Of the present Run.
  const RowBatch* batch_ = nullptr;
  const BatchBlocks* blocks_ = nullptr;
  Group* group_ = nullptr;
  bool every_member_ = false;
  Rows shared_;
  std::vector<std::unique_ptr<Member>> members_;
  AlignedBuffer<float> cosines_, sines_;  // [rows][rotary_dim / 2]
  AlignedBuffer<float> queries_;          // [units][rows][g][head_dim]
  AlignedBuffer<float> attended_;         // the same
  AlignedBuffer<float>
      partial_out_;  // [units][partials][partial rows * g][dim]
  AlignedBuffer<float> partial_lse_;
  AlignedBuffer<float> hidden_;            // [tiles][rows][mlp_tile_width]
  std::vector<QuantizedBuffer> hidden_q_;  // [tiles]
  AlignedBuffer<int64_t> sums_;            // [rows][model_dim], then one flag
  AlignedBuffer<float> fast_sums_;
  std::vector<std::atomic<int64_t>> counters_;  // of shared-out work
  absl::Status status_;      // written by member 0 before a barrier
  bool is_started_ = false;  // the same: sums are with the group
  CollectiveUse collective_use_;
};

// Takes the batches of `runners` (one or two, of one team and group) through
// all layers. Two take turns: while the group adds the sums of one, the other
// computes, so that a rank with more units in a layer holds nobody up.
//
// OutOfRange, with the layer, for a value that is not finite or beyond the
// range of the exact sum: every rank then returns it, and the group is as
// before. Other errors are the group's.
absl::Status RunLayers(absl::Span<LayerRunner* const> runners);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_LAYER_RUNNER_H_
