#include "worker/neural_memory/memory_head.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/neural_memory/chunk_gradients.h"
#include "worker/neural_memory/memory_reads.h"
#include "worker/neural_memory/row_weights.h"

namespace headwise {
namespace {

QueryRows QueriesOf(const MemoryRows& rows, int64_t first, int64_t last) {
  const int64_t at = first * rows.row_stride;
  return {rows.queries + at, rows.out + at, last - first, rows.row_stride};
}

}  // namespace

MemoryHead::MemoryHead(const MemorySpec& spec, absl::Span<const float> initial)
    : spec_(spec),
      weights_(initial.begin(), initial.end()),
      momentum_(initial.size(), 0.0f) {
  HEADWISE_CHECK(static_cast<int64_t>(initial.size()) == spec.num_weights());
}

MemoryHead::MemoryHead(const MemoryHead& other)
    : spec_(other.spec_),
      num_tokens_(other.num_tokens_),
      weights_(other.weights_),
      momentum_(other.momentum_) {
  if (!other.has_open_rows()) return;
  open_ = std::make_unique<OpenChunk>(spec_);
  open_->Append(other.open_->Rows(), 0, other.open_->num_rows);
}

MemoryHead& MemoryHead::operator=(const MemoryHead& other) {
  return *this = MemoryHead(other);
}

absl::Status MemoryHead::Write(const MemoryRows& rows,
                               const MemoryKernels& kernels,
                               MemoryScratch& scratch, MemoryUndo* undo) {
  scratch.Prepare(spec_);
  absl::Status status;
  int64_t unread = 0;
  for (int64_t r = 0; r < rows.num_rows && status.ok();) {
    if (open_ == nullptr) open_ = scratch.TakeChunk(spec_);
    const int64_t first_row = open_->num_rows;
    const int64_t count =
        std::min({rows.num_rows - r, spec_.chunk_len - first_row,
                  MemoryScratch::kBlockRows});
    open_->Append(rows, r, count);
    ComputeRows(weights_.data(), kernels, scratch, *open_);
    num_tokens_ += count;
    const bool is_whole = open_->num_rows == spec_.chunk_len;
    if (rows.surprise != nullptr) {
      for (int64_t i = 0; i < count; ++i) {
        rows.surprise[(r + i) * rows.gate_stride] =
            SurpriseOf(kernels, *open_, first_row + i);
      }
    }
    r += count;
    if (rows.queries != nullptr) {
      // By chunk, the row that ends one reads what the chunk leaves.
      const int64_t last =
          spec_.rule == MemoryRule::kChunk && is_whole ? r - 1 : r;
      ReadWritten(QueriesOf(rows, unread, last), first_row, kernels, scratch);
      unread = last;
    }
    if (is_whole) status = CloseChunk(kernels, scratch, undo);
  }
  // With an undo, room for a chunk goes to and fro between the two.
  if (undo == nullptr && open_ != nullptr && !has_open_rows()) {
    scratch.spare = std::move(open_);
  }
  if (status.ok() && rows.queries != nullptr) {
    ReadWeights(spec_, weights_.data(), QueriesOf(rows, unread, rows.num_rows),
                kernels, scratch);
  }
  return status;
}

void MemoryHead::ReadWritten(const QueryRows& rows, int64_t first_row,
                             const MemoryKernels& kernels,
                             MemoryScratch& scratch) {
  if (spec_.rule == MemoryRule::kChunk) {
    ReadWeights(spec_, weights_.data(), rows, kernels, scratch);
  } else {
    ReadInsideChunk(weights_.data(), momentum_.data(), rows, first_row, 1,
                    kernels, scratch, *open_);
  }
}

absl::Status MemoryHead::CloseChunk(const MemoryKernels& kernels,
                                    MemoryScratch& scratch, MemoryUndo* undo) {
  const int64_t n = open_->num_rows;
  float* of_weights = scratch.row_weights.data();
  float* of_momentum = of_weights + open_->row_capacity();
  const bool by_token = spec_.rule == MemoryRule::kToken;
  const ChunkSums sums =
      by_token ? TokenSums(open_->gates(), n, of_weights, of_momentum)
               : WholeChunkSums(open_->gates(), n, of_weights, of_momentum);
  MemoryCombineArgs combine;
  combine.n = spec_.num_weights();
  combine.keep = sums.keep;
  combine.carry = sums.carry;
  combine.decay = sums.decay;
  combine.weights = weights_.data();
  combine.momentum = momentum_.data();
  combine.new_weights = scratch.new_weights.data();
  combine.new_momentum = scratch.new_momentum.data();
  SumGradients(of_weights, kernels, scratch, *open_, combine.new_weights);
  combine.weights_grad = combine.new_weights;
  combine.momentum_grad = combine.new_weights;  // by chunk, one sum is both
  if (by_token) {
    SumGradients(of_momentum, kernels, scratch, *open_, combine.new_momentum);
    combine.momentum_grad = combine.new_momentum;
  }
  const MemorySquares squares = kernels.combine(combine);
  const double weights_norm = std::sqrt(double{squares.weights});
  const double momentum_norm = std::sqrt(double{squares.momentum});
  const bool is_good =
      weights_norm <= spec_.max_norm && momentum_norm <= spec_.max_norm;
  if (is_good) {
    std::swap(weights_, scratch.new_weights);
    std::swap(momentum_, scratch.new_momentum);
  }
  if (undo != nullptr && !undo->has_ended_chunk) {
    KeepChunkStart(is_good, scratch, *undo);
  }
  if (open_ != nullptr) open_->Reset();
  if (is_good) return absl::OkStatus();
  num_tokens_ -= n;
  std::string message = absl::StrCat(
      "token ", num_tokens_ + n - 1, ": norm of the memory's weights ",
      weights_norm, ", of its momentum ", momentum_norm, "; max_norm is ",
      spec_.max_norm);
  // With an undo, what becomes of the tokens is the caller's to say.
  if (undo == nullptr) {
    absl::StrAppend(&message, "; its chunk's ", n, " tokens, from ",
                    num_tokens_, " on, are dropped");
  }
  return absl::OutOfRangeError(message);
}

void MemoryHead::KeepChunkStart(bool weights_are_new, MemoryScratch& scratch,
                                MemoryUndo& undo) {
  undo.has_ended_chunk = true;
  if (weights_are_new) {
    std::swap(undo.weights, scratch.new_weights);
    std::swap(undo.momentum, scratch.new_momentum);
    scratch.Prepare(spec_);
  } else {
    undo.weights = weights_;
    undo.momentum = momentum_;
  }
  std::swap(undo.open, open_);
  undo.open->SwapProgress(undo.progress);
}

void MemoryHead::DropOpenRows() {
  num_tokens_ -= num_open_rows();
  if (open_ != nullptr) open_->Reset();
}

void MemoryHead::Mark(MemoryUndo& undo) const {
  undo.num_tokens = num_tokens_;
  undo.progress = open_ == nullptr ? ChunkProgress() : open_->progress();
  undo.has_ended_chunk = false;
}

void MemoryHead::Swap(MemoryUndo& undo) {
  std::swap(num_tokens_, undo.num_tokens);
  if (undo.has_ended_chunk) {
    std::swap(weights_, undo.weights);
    std::swap(momentum_, undo.momentum);
    std::swap(open_, undo.open);
  } else if (open_ != nullptr) {
    open_->SwapProgress(undo.progress);
  }
}

void MemoryHead::Read(const float* queries, int64_t num_queries,
                      int64_t row_stride, float* out,
                      const MemoryKernels& kernels,
                      MemoryScratch& scratch) const {
  if (!has_open_rows() || spec_.rule == MemoryRule::kChunk) {
    return ReadChunkStart(queries, num_queries, row_stride, out, kernels,
                          scratch);
  }
  scratch.Prepare(spec_);
  ComputeRows(weights_.data(), kernels, scratch, *open_);
  ReadInsideChunk(weights_.data(), momentum_.data(),
                  {queries, out, num_queries, row_stride}, open_->num_rows - 1,
                  0, kernels, scratch, *open_);
}

void MemoryHead::ReadChunkStart(const float* queries, int64_t num_queries,
                                int64_t row_stride, float* out,
                                const MemoryKernels& kernels,
                                MemoryScratch& scratch) const {
  scratch.Prepare(spec_);
  ReadWeights(spec_, weights_.data(), {queries, out, num_queries, row_stride},
              kernels, scratch);
}

int64_t MemoryHead::state_bytes() const {
  const int64_t row_floats = 2 * spec_.head_dim + 3;
  return static_cast<int64_t>(sizeof(float)) *
         (2 * spec_.num_weights() + num_open_rows() * row_floats);
}

}  // namespace headwise
