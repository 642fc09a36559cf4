// The memory of one head: weights that are learned while serving.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_HEAD_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_HEAD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/memory_spec.h"
#include "worker/backends/cpu/memory_kernels.h"
#include "worker/neural_memory/aligned_floats.h"
#include "worker/neural_memory/memory_scratch.h"
#include "worker/neural_memory/memory_undo.h"
#include "worker/neural_memory/open_chunk.h"

namespace headwise {

struct QueryRows;  // memory_reads.h

// Tokens in order. Row r of keys, values, queries and out starts at
// r * row_stride, gates at r * gate_stride, surprise at r * gate_stride.
struct MemoryRows {
  int64_t num_rows = 0;
  const float* keys = nullptr;    // [num_rows][head_dim]
  const float* values = nullptr;  // [num_rows][head_dim]
  const float* queries =
      nullptr;  // [num_rows][head_dim]; null: nothing is read
  int64_t row_stride = 0;
  const float* theta = nullptr;  // [num_rows] step size, 0 to 1e6
  const float* eta = nullptr;    // [num_rows] decay of momentum, 0 to 1
  const float* alpha = nullptr;  // [num_rows] forgetting, 0 to 1
  int64_t gate_stride = 1;
  // What each query reads once its own row and those before it are written.
  float* out = nullptr;  // [num_rows][head_dim]
  // Euclidean norm of the loss's gradient for the row, at the weights that its
  // chunk began with: the momentary surprise. Null: not told.
  float* surprise = nullptr;  // [num_rows]
};

// A value: a copy is a fork. The bits of everything it answers depend on its
// spec, its initial weights and its rows alone, not on how rows were dealt to
// calls, on threads or on the ISA. Not thread-safe, reads included.
//
// Sources: Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test
// Time", arXiv 2501.00663, equations 12 to 15 and section 3.2. Its momentum and
// decay are unrolled into scalar row weights (row_weights.h), so that a chunk
// needs two weighted sums of outer products instead of two scans over weights;
// a read inside the chunk adds the rows written so far in the same way, layer
// by layer, and never builds the weights that it reads.
class MemoryHead {
 public:
  // `initial` [spec.num_weights()]; the spec was checked (CheckMemorySpec).
  // The momentum begins with zeros.
  MemoryHead(const MemorySpec& spec, absl::Span<const float> initial);
  MemoryHead(const MemoryHead& other);
  MemoryHead& operator=(const MemoryHead& other);
  MemoryHead(MemoryHead&&) = default;
  MemoryHead& operator=(MemoryHead&&) = default;

  // Writes rows, and reads with each as it is written. Values must be finite
  // and gates in their range: the caller checks (CheckMemoryRows).
  // OutOfRange if a chunk's weights go beyond spec.max_norm or are not finite:
  // names the token that ended it. The weights are then those from before that
  // chunk, and the chunk's rows are dropped: num_tokens() says so; rows of
  // chunks before it stay written. What `out` and `surprise` have for rows from
  // that chunk on means nothing then.
  // With `undo`, which Mark began, Swap takes all of it back, also after an
  // error. Rows of one mark may come in several calls.
  absl::Status Write(const MemoryRows& rows, const MemoryKernels& kernels,
                     MemoryScratch& scratch, MemoryUndo* undo = nullptr);

  // Drops the rows of the open chunk, num_open_rows(): back to where it began.
  // What they did to the weights and the momentum is known when a chunk ends
  // alone, so rows that lead beyond max_norm may be written, and none can end
  // their chunk then; this is the way on.
  void DropOpenRows();

  // From now on `undo` leads back to here. O(1).
  void Mark(MemoryUndo& undo) const;
  // Goes back to the mark; called again, on to where it came from. O(1); no
  // bit of what either answers depends on it.
  void Swap(MemoryUndo& undo);

  // What queries read now: after the last row, which need not end a chunk.
  // queries, out [num_queries][head_dim] with the stride.
  void Read(const float* queries, int64_t num_queries, int64_t row_stride,
            float* out, const MemoryKernels& kernels,
            MemoryScratch& scratch) const;
  // The same with the weights that the open chunk began with.
  void ReadChunkStart(const float* queries, int64_t num_queries,
                      int64_t row_stride, float* out,
                      const MemoryKernels& kernels,
                      MemoryScratch& scratch) const;

  const MemorySpec& spec() const { return spec_; }
  int64_t num_tokens() const { return num_tokens_; }  // written so far
  int64_t num_open_rows() const { return num_tokens_ % spec_.chunk_len; }
  // As the open chunk began with them, [spec.num_weights()].
  absl::Span<const float> weights() const { return weights_; }
  absl::Span<const float> momentum() const { return momentum_; }
  // Of weights, momentum and the open chunk's rows; the last are at most
  // chunk_len * (2 * head_dim + 3) floats and none at a chunk's end. Beside
  // them an open chunk keeps what was worked out for its rows (open_chunk.h).
  int64_t state_bytes() const;

 private:
  friend std::string SaveMemoryHead(const MemoryHead& head);
  friend absl::StatusOr<MemoryHead> LoadMemoryHead(const MemorySpec& spec,
                                                   absl::string_view bytes);

  // Reads with rows of the open chunk from first_row on, just written; by chunk
  // they may be any that come before its end.
  void ReadWritten(const QueryRows& rows, int64_t first_row,
                   const MemoryKernels& kernels, MemoryScratch& scratch);
  // Ends the open chunk, or drops it with OutOfRange.
  absl::Status CloseChunk(const MemoryKernels& kernels, MemoryScratch& scratch,
                          MemoryUndo* undo);
  // The mark's state into `undo`, as the first chunk since it ends.
  void KeepChunkStart(bool weights_are_new, MemoryScratch& scratch,
                      MemoryUndo& undo);
  bool has_open_rows() const { return open_ != nullptr && open_->num_rows > 0; }

  MemorySpec spec_;
  int64_t num_tokens_ = 0;
  AlignedFloats weights_;
  AlignedFloats momentum_;
  std::unique_ptr<OpenChunk> open_;  // null or empty if no row is open
};

// One head's state as bytes, and back: the same bits in all that follows.
// Little-endian: "HWMEM1\n" and a zero, the spec, num_tokens, weights,
// momentum, the open chunk's keys, values, theta, eta and alpha; at the end the
// SHA-256 of all before it.
std::string SaveMemoryHead(const MemoryHead& head);
// DataLoss for bytes that were cut or changed; FailedPrecondition if they are
// of another spec; InvalidArgument if what they hold is no memory's (a number
// that is not finite, a gate out of its range). The spec was checked.
absl::StatusOr<MemoryHead> LoadMemoryHead(const MemorySpec& spec,
                                          absl::string_view bytes);

inline constexpr float kMaxMemoryLossScale = 1000.0f;
inline constexpr float kMaxMemoryNorm = 1e18f;  // its square is finite
inline constexpr float kMaxMemoryTheta = 1e6f;

// InvalidArgument names the field, its value and the limit.
absl::Status CheckMemorySpec(const MemorySpec& spec);
// InvalidArgument names the first token and field that is not finite or, of a
// gate, out of its range. O(values).
absl::Status CheckMemoryRows(const MemorySpec& spec, const MemoryRows& rows);
// InvalidArgument names the first of them that is not finite.
absl::Status CheckMemoryWeights(absl::string_view field,
                                absl::Span<const float> weights);

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_HEAD_H_
