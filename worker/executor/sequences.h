// What the executor remembers of each sequence.

#ifndef HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_
#define HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/hyperparameters.h"
#include "worker/cache/kv_book.h"
#include "worker/executor/block_store.h"
#include "worker/executor/token_history.h"
#include "worker/executor/unit_kv.h"
#include "worker/step/step.h"

namespace headwise {

struct Sequence {
  TokenHistory tokens;            // all so far
  uint64_t contrast_plan_id = 0;  // 0: no contrast
  // The first layer in which its plan and the contrast's differ; the number of
  // layers: in none.
  int64_t contrast_layer = 0;
  int32_t last_sample = -1;  // -1: none yet
  SequenceKv kv;
};

struct SequencesOptions {
  struct UnitName {
    int64_t layer = 0;
    int64_t kv_head = 0;
    // Of a unit whose context is cut: which ranges are here (as in
    // UnitStorage), and whether the rest of its work is.
    std::vector<bool> held_ranges;
    bool is_owner = true;
    // Of a neural memory, [num_weights]; empty: none.
    std::vector<float> memory_init;
  };
  std::vector<UnitName> units;  // of the rank
  bool has_cuts = false;        // on any rank
  int64_t capacity_bytes = 0;   // of KV
  KvElement default_element = KvElement::kFp16;
  int64_t num_layers = 0;
  int64_t num_heads = 0;  // of a layer
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // of the cache; 0: nothing is kept in it
  int64_t vocab_size = 0;
  UnitPolicy default_unit;  // of every unit without a plan
  std::optional<TitansHyperparameters> titans;
  // Of the blocks, which are then all of the default element; nullptr: they lie
  // in this process. Outlives the sequences.
  BlockMemory* memory = nullptr;
};

// The sequences of one rank, the plans that they run under and the blocks that
// hold their KV. Not thread-safe.
class Sequences {
 public:
  explicit Sequences(const SequencesOptions& options);

  void Free(uint64_t sequence_id);

  // InvalidArgument, and nothing changed, for a plan that isn't for a model of
  // this shape, has the number of another one, or is one too many;
  // Unimplemented for a titans model. Whoever
  // asked can't know what became of the plans of a step that failed, so the
  // same may be kept again, and one that is unknown dropped.
  absl::Status KeepPlans(const std::vector<NumberedPlan>& plans);
  void DropPlans(const std::vector<uint64_t>& plan_ids);

  // Makes all forks, or none: InvalidArgument for an unknown source, a taken
  // id or a length beyond the source's; FailedPrecondition for one of a neural
  // memory before its end; else as KvBook::Fork.
  absl::Status MakeForks(const std::vector<Fork>& forks);

  // Its file's bytes. InvalidArgument for an unknown sequence.
  absl::StatusOr<int64_t> WriteFile(uint64_t sequence_id,
                                    const std::string& path) const;
  // Takes up a sequence that was written here under that plan. InvalidArgument
  // if it is here already or the plan is not; ResourceExhausted if it does not
  // fit; else as SequenceFileReader. On an error nothing has changed.
  absl::Status ReadFile(uint64_t sequence_id, uint64_t plan_id,
                        const std::string& path);

  // Whether all slices agree with the books and fit. Changes nothing.
  absl::Status Check(const Step& step) const;

  // Takes the slice's tokens, opening its sequence if it is new. Requires that
  // Check passed for the step. Returns the tokens of the rows.
  std::vector<int32_t> Begin(const Slice& slice);
  // Blocks for the next rows, which are about to be stored; and the end of
  // blocks that no later row sees.
  void Extend(uint64_t sequence_id, int64_t num_rows);
  void Trim(uint64_t sequence_id);

  Sequence& Get(uint64_t sequence_id) { return sequences_[sequence_id]; }
  // Under which a sequence's contrast has its KV; below its contrast_layer
  // nothing is written.
  static uint64_t ContrastId(uint64_t sequence_id) { return ~sequence_id; }
  const KvBook& book() const { return book_; }

 private:
  using PlanPointer = std::shared_ptr<const HeadPlan>;

  template <typename... Parts>
  static absl::Status Refuse(uint64_t sequence_id, const Parts&... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence ", sequence_id, ": ", parts...));
  }
  // 0, unknown: everything is prompt.
  static int64_t PromptLenOf(int64_t prompt_len) {
    return prompt_len == 0 ? std::numeric_limits<int64_t>::max() : prompt_len;
  }
  absl::Status CheckPlan(const NumberedPlan& plan) const;
  absl::Status CheckSlice(const Slice& slice) const;
  absl::Status CheckContrast(const Slice& slice) const;
  absl::Status CheckTokens(const Slice& slice) const;
  absl::Status CheckProbe(const Slice& slice) const;
  absl::Status MakeFork(const Fork& fork);
  // nullptr: the default plan.
  PlanPointer FindPlan(uint64_t plan_id) const;
  void Open(uint64_t sequence_id, uint64_t plan_id, int64_t prompt_len);
  int64_t BytesNeeded(uint64_t sequence_id, uint64_t plan_id,
                      const Slice& slice) const;
  std::vector<UnitStorage> StorageUnder(const PlanPointer& plan) const;
  SequenceKv OpenKv(PlanPointer plan, int64_t prompt_len) const;
  void ShareSummaries(const SequenceKv& source, int64_t length,
                      SequenceKv* fork) const;
  void UpdateTables(uint64_t sequence_id, int64_t first_block);

  const SequencesOptions options_;
  const HeadPlan default_plan_;
  KvBook book_;
  std::vector<BlockStore> stores_;  // by KvElement
  absl::flat_hash_map<uint64_t, PlanPointer> plans_;
  absl::flat_hash_map<uint64_t, Sequence> sequences_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_
