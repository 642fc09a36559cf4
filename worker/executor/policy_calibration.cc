// ACT (Yu et al., arXiv 2406.15765): attention sinks inside the text keep a
// part of their probability, the rest goes to the other positions.
//
// With (o_S, l_S) over the sinks and (o_n, l_n) over the others, and
// p = sigmoid(l_S - l_n):  out = (1 - beta p) o_n + beta p o_S.

#include <algorithm>
#include <limits>

#include "worker/executor/policy_attention.h"

namespace headwise {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();

}  // namespace

void PolicyAttention::CalibrateRows(const UnitRows& rows,
                                    const CalibratedHead& head) {
  const int64_t end = rows.first_position + rows.num_rows;
  for (size_t i = 0; i < head.sinks.size(); ++i) {
    const bool is_last = i + 1 == head.sinks.size();
    const int64_t from =
        std::max(head.sinks[i].first_position, rows.first_position);
    const int64_t to =
        is_last ? end : std::min(head.sinks[i + 1].first_position, end);
    if (from >= to || head.sinks[i].sinks.empty()) continue;
    Calibrate(rows, head, head.sinks[i].sinks, from - rows.first_position,
              to - from);
  }
}

// Adds the sinks that the rows see, or all else that they see, to `to`.
void PolicyAttention::AddRuns(const UnitRows& rows,
                              const std::vector<int64_t>& sinks, bool of_sinks,
                              int64_t first, const SpanRows& to) {
  // Runs [cuts[i], cuts[i + 1]) hold no sink and one sink in turn.
  std::vector<int64_t> cuts = {0};
  for (const int64_t sink : sinks) {
    cuts.push_back(sink);
    cuts.push_back(sink + 1);
  }
  cuts.push_back(rows.first_position + rows.num_rows);
  for (size_t i = of_sinks ? 1 : 0; i + 1 < cuts.size(); i += 2) {
    if (cuts[i] == cuts[i + 1]) continue;
    for (int64_t row = 0; row < to.count; ++row) {
      const int64_t t = rows.first_position + first + row;
      begin_[row] = std::min(cuts[i], t + 1);
      end_[row] = std::min(cuts[i + 1], t + 1);
    }
    AddSpan(to);
  }
}

void PolicyAttention::Calibrate(const UnitRows& rows,
                                const CalibratedHead& head,
                                const std::vector<int64_t>& sinks,
                                int64_t first, int64_t count) {
  halves_.Reserve(3 * count * dim_);
  half_lse_.Reserve(2 * count);
  begin_.resize(static_cast<size_t>(count));
  end_.resize(static_cast<size_t>(count));
  float* queries = halves_.data() + 2 * count * dim_;
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(rows.queries + ((first + i) * g_ + head.head) * dim_, dim_,
                queries + i * dim_);
  }
  std::fill_n(halves_.data(), 2 * count * dim_, 0.0f);
  std::fill_n(half_lse_.data(), 2 * count, kEmpty);
  for (const bool of_sinks : {false, true}) {
    const int64_t half = of_sinks ? count : 0;
    AddRuns(rows, sinks, of_sinks, first,
            {rows.kv, queries, begin_.data(), end_.data(), count,
             halves_.data() + half * dim_, half_lse_.data() + half});
  }
  for (int64_t i = 0; i < count; ++i) {
    const float l_others = half_lse_.data()[i];
    const float l_sinks = half_lse_.data()[count + i];
    if (l_sinks == kEmpty || l_others == kEmpty) continue;
    const float gap = std::clamp(l_others - l_sinks, -80.0f, 80.0f);
    const float p = 1.0f / (1.0f + kernels_.exp_one(gap));
    const float share = head.sink_beta * p;
    const float* others = halves_.data() + i * dim_;
    const float* of_sinks = halves_.data() + (count + i) * dim_;
    float* out = rows.out + ((first + i) * g_ + head.head) * dim_;
    for (int64_t d = 0; d < dim_; ++d) {
      out[d] = (1.0f - share) * others[d] + share * of_sinks[d];
    }
  }
}

}  // namespace headwise
