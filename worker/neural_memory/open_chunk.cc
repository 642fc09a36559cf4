#include "worker/neural_memory/open_chunk.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

void CopyGates(const float* from, int64_t stride, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
}

}  // namespace

OpenChunk::OpenChunk(const MemorySpec& spec)
    : spec(spec),
      keys(spec.chunk_len * spec.head_dim),
      values(spec.chunk_len * spec.head_dim),
      theta(spec.chunk_len),
      eta(spec.chunk_len),
      alpha(spec.chunk_len),
      hidden((spec.num_layers - 1) * spec.chunk_len * spec.hidden_dim),
      gradients(spec.chunk_len *
                ((spec.num_layers - 1) * spec.hidden_dim + spec.head_dim)),
      gamma_gradients(
          spec.norm == MemoryNorm::kNone ? 0 : spec.chunk_len * spec.head_dim),
      transposed_weights(spec.layer_begin(spec.num_layers)) {}

void OpenChunk::Reset() {
  num_rows = 0;
  num_computed = 0;
  num_readable = 0;
  prefix.Reset();
}

ChunkProgress OpenChunk::progress() const {
  ChunkProgress place;
  place.num_rows = num_rows;
  place.num_computed = num_computed;
  place.num_readable = num_readable;
  return place;
}

void OpenChunk::SwapProgress(ChunkProgress& place) {
  std::swap(num_rows, place.num_rows);
  std::swap(num_computed, place.num_computed);
  std::swap(num_readable, place.num_readable);
  std::swap(prefix, place.prefix);
}

void OpenChunk::Append(const MemoryRows& rows, int64_t first, int64_t count) {
  HEADWISE_CHECK(num_rows + count <= spec.chunk_len);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = (first + i) * rows.row_stride;
    const int64_t to = (num_rows + i) * spec.head_dim;
    std::copy_n(rows.keys + from, spec.head_dim, keys.data() + to);
    std::copy_n(rows.values + from, spec.head_dim, values.data() + to);
  }
  const int64_t from = first * rows.gate_stride;
  CopyGates(rows.theta + from, rows.gate_stride, count,
            theta.data() + num_rows);
  CopyGates(rows.eta + from, rows.gate_stride, count, eta.data() + num_rows);
  CopyGates(rows.alpha + from, rows.gate_stride, count,
            alpha.data() + num_rows);
  num_rows += count;
}

MemoryRows OpenChunk::Rows() const {
  MemoryRows rows;
  rows.num_rows = num_rows;
  rows.keys = keys.data();
  rows.values = values.data();
  rows.row_stride = spec.head_dim;
  rows.theta = theta.data();
  rows.eta = eta.data();
  rows.alpha = alpha.data();
  return rows;
}

float* OpenChunk::Inputs(int64_t layer, int64_t row) {
  if (layer == 0) return keys.data() + row * spec.head_dim;
  return hidden.data() + ((layer - 1) * spec.chunk_len + row) * spec.hidden_dim;
}

float* OpenChunk::Gradients(int64_t layer, int64_t row) {
  return gradients.data() + layer * spec.chunk_len * spec.hidden_dim +
         row * spec.layer_outputs(layer);
}

float* OpenChunk::TransposedInputs(int64_t layer) {
  const int64_t before =
      layer == 0 ? 0 : spec.head_dim + (layer - 1) * spec.hidden_dim;
  return transposed_inputs.data() + before * row_capacity();
}

}  // namespace headwise
