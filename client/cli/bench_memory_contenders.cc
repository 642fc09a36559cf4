#include "client/cli/bench_memory_contenders.h"

#include <algorithm>
#include <limits>

#include "model/head_plan/context_ranges.h"

namespace headwise {

absl::Status AttentionContender::Write(const MemoryRows& rows) {
  for (int64_t r = 0; r < rows.num_rows; ++r, ++length_) {
    const int64_t slot = length_ % KvLayout::kPositions;
    if (slot == 0) {
      pointers_.push_back(blocks_.emplace_back(layout_.block_bytes()).data());
      ++num_held_;
      // Of which no later query sees a position.
      const int64_t seen = WindowBegin() / KvLayout::kPositions;
      for (int64_t b = static_cast<int64_t>(blocks_.size()) - num_held_;
           b < seen; ++b, --num_held_) {
        blocks_[static_cast<size_t>(b)] = {};
        pointers_[static_cast<size_t>(b)] = nullptr;
      }
    }
    kernels_.append({layout_, blocks_.back().data(), slot,
                     rows.keys + r * rows.row_stride,
                     rows.values + r * rows.row_stride});
  }
  return absl::OkStatus();
}

void AttentionContender::Read(const float* queries, int64_t num_queries,
                              float* out) {
  // Vectors of random directions are told apart best by exp(head_dim * cosine):
  // a factor f gives the sought key exp(f), and n others together about
  // n * exp(f^2 / (2 head_dim)).
  const int64_t num_floats = num_queries * layout_.head_dim;
  AlignedBuffer<float> scaled(num_floats);
  for (int64_t i = 0; i < num_floats; ++i) {
    scaled.data()[i] = static_cast<float>(layout_.head_dim) * queries[i];
  }
  const std::vector<int64_t> visible_begin(static_cast<size_t>(num_queries),
                                           WindowBegin());
  const std::vector<int64_t> visible_end(static_cast<size_t>(num_queries),
                                         length_);
  AlignedBuffer<float> part_out(num_floats), part_lse(num_queries),
      lse(num_queries),
      scratch(AttendScratchFloats(num_queries, layout_.head_dim));
  std::fill_n(out, num_floats, 0.0f);
  std::fill_n(lse.data(), num_queries, -std::numeric_limits<float>::infinity());
  AttendArgs args = {.layout = layout_,
                     .blocks = pointers_.data(),
                     .queries = scaled.data(),
                     .visible_end = visible_end.data(),
                     .num_rows = num_queries,
                     .out = part_out.data(),
                     .lse = part_lse.data(),
                     .scratch = scratch.data(),
                     .visible_begin = visible_begin.data()};
  // Ranges and their order as in a step.
  for (args.begin = RangeBegin(WindowBegin()); args.begin < length_;
       args.begin = args.end) {
    args.end = std::min(RangeEnd(args.begin), length_);
    kernels_.attend(args);
    kernels_.merge({out, lse.data(), part_out.data(), part_lse.data(),
                    num_queries, layout_.head_dim});
  }
}

}  // namespace headwise
