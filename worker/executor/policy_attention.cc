#include "worker/executor/policy_attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "model/head_plan/context_ranges.h"
#include "worker/attention/visible_spans.h"

namespace headwise {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();

bool LooksAtPositionsAlone(const UnitPolicy& policy) {
  return policy.kind == PolicyKind::kFull ||
         policy.kind == PolicyKind::kStreaming ||
         policy.kind == PolicyKind::kRazor;
}

}  // namespace

bool NeedsPlainQueries(const UnitPolicy& policy) {
  return policy.kind == PolicyKind::kLongHeads || policy.slot_positions;
}

int64_t RotationTableSize(const UnitPolicy& policy) {
  if (policy.kind == PolicyKind::kLongHeads) {
    return policy.chunk_len * policy.num_chunks;
  }
  if (policy.kind == PolicyKind::kLandmark && policy.slot_positions) {
    return policy.chunk_len * (policy.num_chunks + 1);
  }
  return policy.slot_positions ? policy.num_sinks + policy.window : 0;
}

PolicyAttention::PolicyAttention(const Kernels& kernels,
                                 const Hyperparameters& hyper,
                                 const RotationTable& rotations)
    : kernels_(kernels),
      hyper_(hyper),
      rotations_(rotations),
      g_(hyper.heads_per_kv_head()),
      dim_(hyper.head_dim) {}

void PolicyAttention::Attend(const UnitRows& rows) {
  const int64_t count = rows.num_rows * g_;
  scratch_.Reserve(AttendScratchFloats(count, dim_));
  part_out_.Reserve(count * dim_);
  part_lse_.Reserve(count);
  lse_.Reserve(count);
  gathered_.Reserve(count * dim_);
  std::memset(rows.out, 0, static_cast<size_t>(count * dim_) * sizeof(float));
  std::fill_n(lse_.data(), count, kEmpty);
  if (LooksAtPositionsAlone(rows.kv->policy)) {
    AttendSpans(rows);
  } else {
    AttendChunks(rows);
  }
  for (const CalibratedHead& head : rows.kv->calibrated) {
    CalibrateRows(rows, head);
  }
}

void PolicyAttention::Add(const UnitRows& rows, const RowsBeside& beside) {
  const int64_t count = rows.num_rows * g_;
  end_.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    end_[i] = beside.num_visible + i / g_ * beside.step;
  }
  beside_.clear();
  for (int64_t b = 0; b < beside.blocks->num_blocks(); ++b) {
    beside_.push_back(beside.blocks->Block(b));
  }
  AttendArgs args;
  args.layout = beside.blocks->layout();
  args.blocks = beside_.data();
  args.end = end_[count - 1];
  args.queries = rows.plain_queries;
  args.visible_end = end_.data();
  args.num_rows = count;
  args.out = part_out_.data();
  args.lse = part_lse_.data();
  args.scratch = scratch_.data();
  kernels_.attend(args);
  kernels_.merge(
      {rows.out, lse_.data(), part_out_.data(), part_lse_.data(), count, dim_});
}

void PolicyAttention::AddSpan(const SpanRows& rows) {
  int64_t first = 0;  // rows before it have seen all of their span
  const int64_t last_end = rows.end[rows.count - 1];
  for (int64_t at = RangeBegin(rows.begin[0]); at < last_end;
       at = RangeEnd(at)) {
    const int64_t range_end = RangeEnd(at);
    while (rows.end[first] <= at) ++first;
    int64_t last = rows.count;
    while (last > first && rows.begin[last - 1] >= range_end) --last;
    if (last == first) continue;
    AttendArgs args;
    args.layout = rows.kv->layout;
    args.blocks = rows.kv->blocks.data();
    args.begin = at;
    args.end = std::min(range_end, last_end);
    args.queries = rows.queries + first * dim_;
    args.visible_begin = rows.begin + first;
    args.visible_end = rows.end + first;
    args.num_rows = last - first;
    args.out = part_out_.data();
    args.lse = part_lse_.data();
    args.scratch = scratch_.data();
    kernels_.attend(args);
    kernels_.merge({rows.out + first * dim_, rows.lse + first, part_out_.data(),
                    part_lse_.data(), last - first, dim_});
  }
}

// Rows without a gap come first, since spans never shrink from the left.
void PolicyAttention::AttendSpans(const UnitRows& rows) {
  const int64_t count = rows.num_rows * g_;
  begin_.resize(static_cast<size_t>(count));
  end_.resize(static_cast<size_t>(count));
  int64_t first_with_gap = rows.num_rows;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    const int64_t t = rows.first_position + row;
    const VisibleSpans spans = VisibleTo(rows.kv->policy, t, rows.prompt_len);
    if (spans.has_gap()) first_with_gap = std::min(first_with_gap, row);
    for (int64_t h = 0; h < g_; ++h) {
      begin_[row * g_ + h] = std::max(spans.begin, rows.first_visible);
      end_[row * g_ + h] = t + 1;
    }
  }
  if (first_with_gap < rows.num_rows) {
    AddSinks(rows, first_with_gap, lse_.data());
  }
  for (const auto& [from, to] : {std::pair<int64_t, int64_t>(0, first_with_gap),
                                 {first_with_gap, rows.num_rows}}) {
    if (from == to) continue;
    const int64_t at = from * g_;
    AddSpan({rows.kv, rows.queries + at * dim_, begin_.data() + at,
             end_.data() + at, (to - from) * g_, rows.out + at * dim_,
             lse_.data() + at});
  }
  if (rows.kv->policy.kind != PolicyKind::kRazor) return;
  for (int64_t row = first_with_gap; row < rows.num_rows; ++row) {
    AddCompensation(rows, row, begin_[row * g_] - rows.kv->policy.num_sinks,
                    lse_.data() + row * g_);
  }
}

// The sinks of rows [first, num_rows), all of which have dropped something.
void PolicyAttention::AddSinks(const UnitRows& rows, int64_t first,
                               float* lse) {
  const UnitPolicy& policy = rows.kv->policy;
  if (policy.num_sinks == 0) return;
  const int64_t at = first * g_;
  const int64_t count = (rows.num_rows - first) * g_;
  const float* queries = rows.queries + at * dim_;
  if (policy.slot_positions) {
    // Sinks keep the places 0, 1, ...; the query stands at the cache's end.
    const RotationAngles angles =
        rotations_.At(policy.num_sinks + policy.window - 1);
    std::memcpy(gathered_.data(), rows.plain_queries + at * dim_,
                static_cast<size_t>(count * dim_) * sizeof(float));
    for (int64_t i = 0; i < count; ++i) {
      RotateHead(hyper_.rope, angles, gathered_.data() + i * dim_);
    }
    queries = gathered_.data();
  }
  const std::vector<int64_t> zeros(static_cast<size_t>(count), 0);
  const std::vector<int64_t> ends(static_cast<size_t>(count), policy.num_sinks);
  AddSpan({rows.kv, queries, zeros.data(), ends.data(), count,
           rows.out + at * dim_, lse + at});
}

// RazorAttention (Tang et al., 2407.15891): one slot with the mean key and
// value, whose score is raised by the log of how many it stands for.
void PolicyAttention::AddCompensation(const UnitRows& rows, int64_t row,
                                      int64_t dropped, float* lse) {
  const float* key = rows.razor_means + row * 2 * dim_;
  const float* value = key + dim_;
  const float weight = rows.kv->policy.count_weight
                           ? kernels_.log_one(static_cast<float>(dropped))
                           : 0.0f;
  for (int64_t h = 0; h < g_; ++h) {
    const float* query = rows.queries + (row * g_ + h) * dim_;
    float score = 0.0f;
    for (int64_t d = 0; d < dim_; ++d) score += query[d] * key[d];
    score += weight;
    kernels_.merge(
        {rows.out + (row * g_ + h) * dim_, lse + h, value, &score, 1, dim_});
  }
}

}  // namespace headwise
