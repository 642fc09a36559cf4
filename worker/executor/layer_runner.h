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
#include "worker/backends/cpu/memory_kernels.h"
#include "worker/collectives/group.h"
#include "worker/executor/cut_layout.h"
#include "worker/executor/policy_attention.h"
#include "worker/executor/quantized_buffer.h"
#include "worker/executor/rotation.h"
#include "worker/executor/row_batch.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/unit_kv.h"
#include "worker/executor/unit_summaries.h"
#include "worker/neural_memory/memory_scratch.h"
#include "worker/step/step.h"

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
  const RotationTable* rotations = nullptr;
  ReductionMode reduction = ReductionMode::kExact;
};

// What a piece of a batch belongs to. Blocks cover the positions of the batch.
struct PieceState {
  SequenceKv* kv = nullptr;
  // What to tell of its attention, and where: one entry for each query head of
  // the rank, by layer and head, with room for all rows of the slice.
  const ProbeRequest* probe = nullptr;  // nullptr: nothing
  std::vector<HeadProbe>* probes = nullptr;
  // Gets the rows of the piece as they enter this layer (the number of layers:
  // as they leave the last one), [rows of the piece][model_dim]; -1: nothing.
  int64_t capture_layer = -1;
  float* capture = nullptr;
};
using PieceStates = std::vector<PieceState>;

// What is added to the residual stream at once, with a sum over ranks.
enum class LayerBlock : uint8_t { kMemory, kAttention, kMlp };

// One batch on its way through the layers. A layer is two blocks (of titans
// models one to three) of three phases with a barrier after each: queries, keys
// and values (then summaries of what was stored, if a policy has any);
// attention; output rows, added exactly; (all-reduce); gate and up; down, added
// exactly; (all-reduce). A neural memory: queries, keys, values and gates;
// writes and reads; output rows; as a block of its own or as a part of the
// attention's. Norms, residual sums and conversions to int8 happen at the head
// of the next phase: by every thread for all rows if there are few (each keeps
// its own copy, which saves a barrier), else shared out by rows.
class LayerRunner {
 public:
  explicit LayerRunner(const LayerRunnerContext& context);

  // The batch that RunLayers takes through next; all must outlive that.
  void SetBatch(const RowBatch& batch, const PieceStates& pieces, Group* group);

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
    AlignedBuffer<float> scores;  // of a probed row
    std::vector<int64_t> visible;
    std::unique_ptr<PolicyAttention> policies;
    std::unique_ptr<UnitSummarizer> summaries;
    MemoryScratch memory;
    AlignedBuffer<float> segment;  // [3][rows][head_dim]; kMac
    int not_exact[3] = {0, 0, 0};  // by block
    bool memory_has_failed = false;
  };

  void Reserve(const RowBatch& batch);
  void LookAtPolicies();
  // A block of a layer, up to the sums of this rank. False if the group failed,
  // then for every member.
  bool RunBlock(int member, int64_t layer, int64_t block);
  bool Attention(int member, int64_t layer, int64_t block);
  void Mlp(int member, int64_t layer, int64_t block);
  // What is shared out by items, of each layer.
  enum class Work {
    kProject,
    kSummarize,
    kAttend,
    kProjectMemory,
    kWriteMemory
  };
  static constexpr int64_t kNumWorks = 5;
  std::atomic<int64_t>& Counter(int64_t layer, Work work) {
    return counters_[kNumWorks * layer + static_cast<int64_t>(work)];
  }
  Rows& RowsOf(int member) {
    return every_member_ ? members_[member]->rows : shared_;
  }
  // Rows that a member prepares.
  PartRange PartOfRows(int member) const;
  // Rows as they enter the batch's first layer, and their rotations.
  void EnterRows(int member);
  void CaptureRows(int member, int64_t layer);
  void AddResidual(int member);
  void NormRows(int member, const std::vector<float>& weight);

  // layer_memory.cc
  void Memory(int member, int64_t layer, int64_t block);
  UnitMemory& MemoryOf(int64_t piece, int64_t layer, int64_t unit) const {
    return (*pieces_)[piece].kv->memories[first_unit_[layer] + unit];
  }
  int64_t GateStride() const { return (3 * hyper_.num_heads + 15) / 16 * 16; }
  float* MemoryInputs(int64_t unit, int64_t part, int64_t row) {
    return memory_in_.data() +
           ((unit * 3 + part) * batch_->num_rows + row) * hyper_.head_dim;
  }
  void ProjectMemory(int member, int64_t layer);
  void ProjectMemoryInputs(const Rows& rows, int64_t layer, int64_t unit,
                           int64_t part);
  void MakeGates(int64_t layer, int64_t unit, const BatchPiece& piece);
  void WriteMemories(int member, int64_t layer);
  void WriteRows(Member& self, MemoryRows rows, int64_t layer, int64_t unit,
                 int64_t piece, int64_t first_row);
  void RunSegment(Member& self, int64_t layer, int64_t unit, int64_t piece,
                  PartRange rows);
  void MixMemory(const MemoryWeights& weights, int64_t unit, int64_t row,
                 float* mixed) const;
  void MixMemories(int member, int64_t layer);

  // layer_attention.cc
  void ProjectHeads(int member, int64_t layer);
  void ProjectQuery(Member& self, const Rows& rows, int64_t layer, int64_t unit,
                    int64_t head);
  void ProjectKeyValue(Member& self, const Rows& rows, int64_t layer,
                       int64_t unit);
  const UnitKv& KvOf(int64_t piece, int64_t layer, int64_t unit) const {
    return (*pieces_)[piece].kv->units[first_unit_[layer] + unit];
  }
  RotationAngles AnglesOf(const UnitKv& kv, int64_t row) const;
  void StoreQueries(const BatchPiece& piece, const UnitKv& kv, int64_t unit,
                    int64_t head, const float* projected);
  bool IsMaskedUniform(const SequenceKv& kv, int64_t layer, int64_t unit,
                       int64_t head) const;
  void Summarize(int member, int64_t layer);
  void AttendSpans(int member, int64_t layer);
  void AttendSpanOf(Member& self, const AttendSpan& span, int64_t layer,
                    int64_t unit);
  void AttendWhole(Member& self, const AttendSpan& span, AttendArgs args,
                   float* out);
  // layer_cuts.cc: units whose context is cut over ranks.
  void LookAtCuts();
  void AttendCut(Member& self, const AttendSpan& span, AttendArgs args,
                 int64_t layer, int64_t unit);
  // Partials of all ranks, by every rank. False if the batch failed.
  bool GatherPartials(int member, int64_t layer);
  void MergeGathered(int64_t layer, int64_t unit, int64_t row, float* mixed,
                     float* lse) const;

  void AttendByPolicy(Member& self, const AttendSpan& span, int64_t layer,
                      int64_t unit);
  // Rows of a piece.
  UnitRows UnitRowsOf(int64_t piece, PartRange part, int64_t layer,
                      int64_t unit);
  // Gates and scales of query heads (HeadPlan::heads).
  void ScaleHeads(const SequenceKv& kv, int64_t layer, int64_t unit,
                  float* mixed) const;

  // layer_probes.cc
  void ProbeSpan(Member& self, const AttendSpan& span, int64_t layer,
                 int64_t unit);
  void ProbeRow(Member& self, const PieceState& piece, const UnitKv& kv,
                int64_t position, const float* query, int64_t slice_row,
                HeadProbe* out);
  void MixRows(int member, int64_t layer);
  void ProjectOutput(int member, int64_t layer, int64_t block);

  // layer_mlp.cc
  void GateUp(int member, int64_t layer);
  void GateUpBlock(Member& self, const Rows& rows, const MlpTileWeights& tile,
                   int64_t tile_index, int64_t block);
  void Down(int member, int64_t layer, int64_t block);

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
  // Ends a block's last phase, and hands its sums to the group.
  void StartSums(int member, int64_t block);
  // Waits for the sums of all ranks. False if the batch failed, then for every
  // member.
  bool FinishSums(int member, int64_t layer, int64_t block);
  int64_t FlagOf(int64_t block) const;  // of this rank; 0: all went well
  absl::Status StartReduce(int64_t block);
  absl::Status FinishReduce(int64_t layer);
  absl::Span<int64_t> ExactSums();

  const LayerRunnerContext context_;
  const Hyperparameters& hyper_;
  const Kernels& kernels_;
  const RopeFrequencies rope_;
  const int64_t num_threads_;
  const float softmax_scale_;
  const MemoryKernels& memory_kernels_;
  const std::vector<LayerBlock> blocks_;  // of every layer
  const bool has_memory_;
  const bool is_mixed_;  // memory is a part of the attention's block
  const bool is_mac_;
  const bool sees_beside_;           // attention sees rows beside the cache
  const int64_t tile_width_;         // of the MLP
  std::vector<int64_t> first_unit_;  // [layers] index in the rank's units
  int64_t max_units_ = 0;            // of a layer
  bool has_cuts_ = false;            // of any rank
  int64_t max_tiles_ = 0;

  // Of the present Run.
  const RowBatch* batch_ = nullptr;
  const PieceStates* pieces_ = nullptr;
  std::vector<int32_t> piece_of_row_;  // [rows]
  bool needs_plain_queries_ = false;   // for some piece's policies
  bool has_summaries_ = false;
  Group* group_ = nullptr;
  bool every_member_ = false;
  Rows shared_;
  std::vector<std::unique_ptr<Member>> members_;
  AlignedBuffer<float> cosines_, sines_;  // [rows][rotary_dim / 2]
  AlignedBuffer<float> queries_;          // [units][rows][g][head_dim]
  AlignedBuffer<float> plain_queries_;    // the same, not rotated, if needed
  AlignedBuffer<float> attended_;         // the same
  AlignedBuffer<float> memory_in_;        // [units][q, k, v][rows][head_dim]
  AlignedBuffer<float> memory_out_;       // [units][rows][head_dim]
  AlignedBuffer<float> gates_;            // [rows][3 * num_heads, to whole 16s]
  AlignedBuffer<float> razor_means_;      // [units][rows][2][head_dim]
  AlignedBuffer<float>
      partial_out_;  // [units][partials][partial rows * g][dim]
  AlignedBuffer<float> partial_lse_;
  std::vector<CutLayout> cut_layouts_;     // [layers], of this batch
  AlignedBuffer<float> my_partials_;       // one section
  AlignedBuffer<float> all_partials_;      // [ranks] sections
  AlignedBuffer<float> hidden_;            // [tiles][rows][mlp_tile_width]
  std::vector<QuantizedBuffer> hidden_q_;  // [tiles]
  AlignedBuffer<int64_t> sums_;            // [rows][model_dim], then one flag
  AlignedBuffer<float> fast_sums_;
  std::vector<std::atomic<int64_t>> counters_;  // of shared-out work
  absl::Status status_;      // written by member 0 before a barrier
  bool is_started_ = false;  // the same: sums are with the group
  CollectiveUse collective_use_;
};

// Takes the batches of `runners` (one or two, of one team, group and first
// layer) through the layers from there on. Two take turns: while the group adds
// the sums of one, the other computes, so that a rank with more units in a
// layer holds nobody up.
//
// OutOfRange, with the layer, for a value that is not finite or beyond the
// range of the exact sum: every rank then returns it, and the group is as
// before. Other errors are the group's.
absl::Status RunLayers(absl::Span<LayerRunner* const> runners);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_LAYER_RUNNER_H_
