#include "worker/executor/sequences.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_diff.h"

namespace headwise {
namespace {

// The books count in the blocks that the kernels read.
static_assert(kKvBlockPositions == KvLayout::kPositions);

constexpr KvElement kElements[] = {KvElement::kFp32, KvElement::kFp16,
                                   KvElement::kBf16, KvElement::kInt8};

// Twice what a coordinator names at one time: the drop of a plan whose step
// failed may still be on its way.
constexpr size_t kMaxKeptPlans = 2 * kMaxPlans;

KvBookOptions BookOptions(const SequencesOptions& options) {
  KvBookOptions out;
  out.num_units = static_cast<int64_t>(options.units.size());
  out.capacity_bytes = options.capacity_bytes;
  for (const KvElement element : kElements) {
    out.class_bytes.push_back(
        KvLayout{element, options.head_dim}.block_bytes());
  }
  out.head_dim = options.head_dim;
  out.heads_per_kv_head = options.num_heads / options.num_kv_heads;
  out.unit_state_bytes = options.titans ? options.titans->state_bytes() : 0;
  return out;
}

}  // namespace

Sequences::Sequences(const SequencesOptions& options)
    : options_(options),
      default_plan_(FullHeadPlan(options.num_layers, options.num_heads,
                                 options.num_kv_heads)),
      book_(BookOptions(options)) {
  for (const KvElement element : kElements) {
    stores_.emplace_back(KvLayout{element, options.head_dim}.block_bytes(),
                         options.memory);
  }
}

void Sequences::Free(uint64_t sequence_id) {
  for (const uint64_t id : {sequence_id, ContrastId(sequence_id)}) {
    book_.Free(id);
    sequences_.erase(id);
  }
}

absl::Status Sequences::CheckPlan(const NumberedPlan& plan) const {
  const auto error = [&plan](auto... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan ", plan.plan_id, ": ", parts...));
  };
  if (plan.plan_id == 0 || plan.plan == nullptr) return error("has no content");
  if (options_.titans) {
    return absl::UnimplementedError(
        absl::StrCat("plan ", plan.plan_id, ": of a titans model"));
  }
  const PlanPointer kept = FindPlan(plan.plan_id);
  if (kept != nullptr && *kept != *plan.plan) {
    return error("is another one here");
  }
  const HeadPlan& p = *plan.plan;
  if (p.num_layers != options_.num_layers ||
      p.num_heads != options_.num_heads ||
      p.num_kv_heads != options_.num_kv_heads ||
      static_cast<int64_t>(p.units.size()) != p.num_layers * p.num_kv_heads ||
      static_cast<int64_t>(p.heads.size()) != p.num_layers * p.num_heads) {
    return error("is for ", p.num_layers, " layers of ", p.num_heads,
                 " heads and ", p.num_kv_heads, " KV heads, the model has ",
                 options_.num_layers, ", ", options_.num_heads, " and ",
                 options_.num_kv_heads);
  }
  const int64_t g = p.num_heads / p.num_kv_heads;
  for (size_t i = 0; i < p.heads.size(); ++i) {
    const int64_t unit = static_cast<int64_t>(i) / g;
    const PolicyKind kind = p.units[unit].kind;
    if (p.heads[i].sink_beta == 1.0f || kind == PolicyKind::kFull) continue;
    return error("heads[", i,
                 "] sink_beta: only a head of a full unit can be "
                 "calibrated");
  }
  return absl::OkStatus();
}

absl::Status Sequences::KeepPlans(const std::vector<NumberedPlan>& plans) {
  for (const NumberedPlan& plan : plans) {
    HEADWISE_RETURN_IF_ERROR(CheckPlan(plan));
  }
  size_t num_plans = plans_.size();
  for (const NumberedPlan& plan : plans) {
    if (!plans_.contains(plan.plan_id)) ++num_plans;
  }
  if (num_plans > kMaxKeptPlans) {
    return absl::InvalidArgumentError(
        absl::StrCat(num_plans, " plans to be kept, limit ", kMaxKeptPlans));
  }
  for (const NumberedPlan& plan : plans) plans_[plan.plan_id] = plan.plan;
  return absl::OkStatus();
}

void Sequences::DropPlans(const std::vector<uint64_t>& plan_ids) {
  for (const uint64_t id : plan_ids) plans_.erase(id);
}

Sequences::PlanPointer Sequences::FindPlan(uint64_t plan_id) const {
  const auto it = plans_.find(plan_id);
  return it == plans_.end() ? nullptr : it->second;
}

std::vector<UnitStorage> Sequences::StorageUnder(
    const PlanPointer& plan) const {
  std::vector<UnitStorage> units(options_.units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    units[i].policy = plan == nullptr ? options_.default_unit
                                      : plan->unit(options_.units[i].layer,
                                                   options_.units[i].kv_head);
    const SequencesOptions::UnitName& name = options_.units[i];
    if (!name.held_ranges.empty()) {
      if (IsAsTrained(plan.get(), name.layer, name.kv_head)) {
        units[i].held_ranges = name.held_ranges;
      } else if (!name.is_owner) {
        units[i].held_ranges = {false};
      }
    }
    units[i].block_class = static_cast<int>(
        ResolveKvType(units[i].policy.kv_type, options_.default_element));
  }
  return units;
}

SequenceKv Sequences::OpenKv(PlanPointer plan, int64_t prompt_len) const {
  SequenceKv kv;
  kv.prompt_len = PromptLenOf(prompt_len);
  for (const UnitStorage& unit : StorageUnder(plan)) {
    UnitKv& to = kv.units.emplace_back();
    to.policy = unit.policy;
    to.layout = {static_cast<KvElement>(unit.block_class), options_.head_dim};
    const size_t index = kv.units.size() - 1;
    const SequencesOptions::UnitName& name = options_.units[index];
    const bool as_trained = IsAsTrained(plan.get(), name.layer, name.kv_head);
    to.is_cut = !name.held_ranges.empty() && as_trained;
    to.is_elsewhere = !name.is_owner && !as_trained;
    const int64_t g = options_.num_heads / options_.num_kv_heads;
    for (int64_t h = 0; plan != nullptr && h < g; ++h) {
      const QueryHeadPlan& head = plan->head(
          options_.units[index].layer, options_.units[index].kv_head * g + h);
      if (head.sink_beta == 1.0f) continue;
      CalibratedHead& calibrated = to.calibrated.emplace_back();
      calibrated.head = h;
      calibrated.sink_beta = head.sink_beta;
      calibrated.sink_threshold = head.sink_threshold;
    }
  }
  kv.plan = std::move(plan);
  if (options_.titans && options_.titans->has_memory()) {
    for (const SequencesOptions::UnitName& unit : options_.units) {
      kv.memories.emplace_back(*options_.titans, unit.memory_init);
    }
  }
  return kv;
}

absl::Status Sequences::CheckTokens(const Slice& slice) const {
  for (int32_t token : slice.tokens) {
    if (token < 0 || token >= options_.vocab_size) {
      return Refuse(slice.sequence_id, "token ", token, " is not in [0, ",
                    options_.vocab_size, ")");
    }
  }
  if (!slice.score_targets.empty() &&
      static_cast<int64_t>(slice.score_targets.size()) != slice.num_rows()) {
    return Refuse(slice.sequence_id, slice.score_targets.size(),
                  " score_targets for ", slice.num_rows(), " rows");
  }
  for (int32_t target : slice.score_targets) {
    if (target < -1 || target >= options_.vocab_size) {
      return Refuse(slice.sequence_id, "score target ", target,
                    " is not in [-1, ", options_.vocab_size, ")");
    }
  }
  return absl::OkStatus();
}

absl::Status Sequences::CheckProbe(const Slice& slice) const {
  if (slice.probe.empty()) return absl::OkStatus();
  if (options_.has_cuts) {
    return Refuse(slice.sequence_id,
                  "a probe reads whole contexts; here they are cut over ranks");
  }
  const auto it = sequences_.find(slice.sequence_id);
  const PlanPointer plan =
      it == sequences_.end() ? FindPlan(slice.plan_id) : it->second.kv.plan;
  if (plan == nullptr) {
    if (options_.default_unit.kind == PolicyKind::kFull) {
      return absl::OkStatus();
    }
    return Refuse(slice.sequence_id,
                  "a probe reads units that see everything; the model's have a "
                  "window");
  }
  for (const UnitPolicy& unit : plan->units) {
    if (unit.kind == PolicyKind::kFull) continue;
    return Refuse(slice.sequence_id,
                  "a probe reads units that see everything; the plan has "
                  "others");
  }
  return absl::OkStatus();
}

absl::Status Sequences::CheckContrast(const Slice& slice) const {
  const uint64_t plan_id = slice.contrast_plan_id;
  const auto it = sequences_.find(slice.sequence_id);
  const uint64_t expected =
      it == sequences_.end() ? plan_id : it->second.contrast_plan_id;
  if (plan_id != expected) {
    return Refuse(slice.sequence_id, "contrast_plan_id ", plan_id,
                  ", its slices had ", expected);
  }
  if (it == sequences_.end() && plan_id != 0 && FindPlan(plan_id) == nullptr) {
    return Refuse(slice.sequence_id, "plan ", plan_id, " is not here");
  }
  if (plan_id != 0 && slice.use_last_sample) {
    return Refuse(slice.sequence_id,
                  "use_last_sample in a sequence with a contrast");
  }
  return absl::OkStatus();
}

absl::Status Sequences::CheckSlice(const Slice& slice) const {
  if (slice.sequence_id >> 63 != 0) {
    return Refuse(slice.sequence_id, "an id of 2^63 or more");
  }
  const int64_t length = book_.Length(slice.sequence_id);
  if (slice.num_rows() == 0) {
    return Refuse(slice.sequence_id, "a slice without rows");
  }
  if (slice.first_position != length) {
    return Refuse(slice.sequence_id, "first_position ", slice.first_position,
                  ", but ", length, " positions are stored");
  }
  const auto it = sequences_.find(slice.sequence_id);
  if (slice.use_last_sample &&
      (it == sequences_.end() || it->second.last_sample < 0 ||
       it->second.last_sample >= options_.vocab_size ||
       !slice.tokens.empty())) {
    return Refuse(slice.sequence_id,
                  "use_last_sample without a sample, or with tokens");
  }
  if (it == sequences_.end() && slice.plan_id != 0 &&
      FindPlan(slice.plan_id) == nullptr) {
    return Refuse(slice.sequence_id, "plan ", slice.plan_id, " is not here");
  }
  HEADWISE_RETURN_IF_ERROR(CheckContrast(slice));
  HEADWISE_RETURN_IF_ERROR(CheckTokens(slice));
  return CheckProbe(slice);
}

absl::Status Sequences::Check(const Step& step) const {
  int64_t needed = 0;
  absl::flat_hash_set<uint64_t> seen;
  for (const Slice& slice : step.slices) {
    HEADWISE_RETURN_IF_ERROR(CheckSlice(slice));
    if (!seen.insert(slice.sequence_id).second) {
      return Refuse(slice.sequence_id, "has two slices in one step");
    }
    needed += BytesNeeded(slice.sequence_id, slice.plan_id, slice);
    if (slice.contrast_plan_id == 0) continue;
    needed += BytesNeeded(ContrastId(slice.sequence_id), slice.contrast_plan_id,
                          slice);
  }
  const int64_t free = book_.capacity_bytes() - book_.used_bytes();
  if (needed > free) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the step needs ", needed, " bytes of KV, ", free, " of ",
                     book_.capacity_bytes(), " are free"));
  }
  return absl::OkStatus();
}

int64_t Sequences::BytesNeeded(uint64_t sequence_id, uint64_t plan_id,
                               const Slice& slice) const {
  if (book_.Contains(sequence_id)) {
    return book_.MaxBytesNeeded(sequence_id, slice.num_rows());
  }
  return book_.MaxBytesOfNew(StorageUnder(FindPlan(plan_id)),
                             PromptLenOf(slice.prompt_len), slice.num_rows());
}

void Sequences::Open(uint64_t sequence_id, uint64_t plan_id,
                     int64_t prompt_len) {
  PlanPointer plan = FindPlan(plan_id);
  book_.Open(sequence_id, StorageUnder(plan), PromptLenOf(prompt_len));
  sequences_[sequence_id].kv = OpenKv(std::move(plan), prompt_len);
}

std::vector<int32_t> Sequences::Begin(const Slice& slice) {
  if (!book_.Contains(slice.sequence_id)) {
    Open(slice.sequence_id, slice.plan_id, slice.prompt_len);
    if (slice.contrast_plan_id != 0) {
      const uint64_t contrast = ContrastId(slice.sequence_id);
      Open(contrast, slice.contrast_plan_id, slice.prompt_len);
      Sequence& sequence = sequences_[slice.sequence_id];
      sequence.contrast_plan_id = slice.contrast_plan_id;
      const HeadPlan* plan = sequence.kv.plan.get();
      sequence.contrast_layer =
          FirstDifferentLayer(plan == nullptr ? default_plan_ : *plan,
                              *sequences_[contrast].kv.plan);
    }
  }
  Sequence& sequence = sequences_[slice.sequence_id];
  std::vector<int32_t> tokens = slice.tokens;
  if (slice.use_last_sample) tokens = {sequence.last_sample};
  sequence.tokens.Append(tokens);
  return tokens;
}

void Sequences::Extend(uint64_t sequence_id, int64_t num_rows) {
  const int64_t first =
      (book_.Length(sequence_id) + kKvBlockPositions - 1) / kKvBlockPositions;
  HEADWISE_CHECK(book_.Append(sequence_id, num_rows).ok());
  UpdateTables(sequence_id, first);
}

void Sequences::UpdateTables(uint64_t sequence_id, int64_t first_block) {
  SequenceKv& kv = sequences_[sequence_id].kv;
  for (size_t i = 0; i < stores_.size(); ++i) {
    stores_[i].Reserve(book_.ids_in_use(static_cast<int>(i)));
  }
  for (size_t unit = 0; unit < kv.units.size(); ++unit) {
    UnitKv& to = kv.units[unit];
    BlockStore& store = stores_[static_cast<size_t>(to.layout.element)];
    const std::vector<int32_t>& ids =
        book_.Blocks(sequence_id, static_cast<int64_t>(unit));
    to.blocks.resize(ids.size());
    for (size_t b = static_cast<size_t>(first_block); b < ids.size(); ++b) {
      to.blocks[b] = ids[b] == KvBook::kDropped ? nullptr : store.Block(ids[b]);
    }
  }
}

void Sequences::Trim(uint64_t sequence_id) {
  SequenceKv& kv = sequences_[sequence_id].kv;
  if (kv.plan == nullptr && !Drops(options_.default_unit)) return;
  book_.Trim(sequence_id);
  for (size_t unit = 0; unit < kv.units.size(); ++unit) {
    UnitKv& to = kv.units[unit];
    if (!Drops(to.policy)) continue;
    const std::vector<int32_t>& ids =
        book_.Blocks(sequence_id, static_cast<int64_t>(unit));
    // From the end: what was dropped before is dropped already.
    for (size_t b = ids.size(); b-- > 0;) {
      if (ids[b] != KvBook::kDropped) continue;
      if (to.blocks[b] == nullptr) break;
      to.blocks[b] = nullptr;
    }
  }
}

}  // namespace headwise
