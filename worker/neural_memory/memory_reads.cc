#include "worker/neural_memory/memory_reads.h"

#include <algorithm>

namespace headwise {
namespace {

constexpr int64_t kBlockRows = MemoryScratch::kBlockRows;

int64_t ToWhole16(int64_t n) { return (n + 15) / 16 * 16; }

// A block of at most kBlockRows rows on its way through the layers.
struct LayerRows {
  const float* x;
  int64_t stride;
  int64_t num_rows;
};

// out [num_rows][layer_outputs] = x * matrix [layer_inputs][layer_outputs]
void MultiplyLayer(const MemorySpec& spec, int64_t layer, const LayerRows& in,
                   const float* matrix, const MemoryKernels& kernels,
                   float* out) {
  MemoryProduct product;
  product.a = in.x;
  product.a_row_stride = in.stride;
  product.b = matrix;
  product.b_stride = spec.layer_outputs(layer);
  product.out = out;
  product.out_stride = spec.layer_outputs(layer);
  product.num_rows = in.num_rows;
  product.num_cols = spec.layer_outputs(layer);
  product.depth = spec.layer_inputs(layer);
  kernels.product(product);
}

void WriteOutput(const MemorySpec& spec, const QueryRows& rows,
                 const float* mlp, const float* gamma, int64_t gamma_stride,
                 const MemoryKernels& kernels) {
  MemoryOutputArgs args;
  args.norm = spec.norm;
  args.num_rows = rows.num_rows;
  args.head_dim = spec.head_dim;
  args.mlp = mlp;
  args.gamma = gamma;
  args.gamma_stride = gamma_stride;
  args.residual = spec.residual ? rows.queries : nullptr;
  args.residual_stride = rows.row_stride;
  args.out = rows.out;
  args.out_stride = rows.row_stride;
  kernels.output(args);
}

QueryRows BlockOf(const QueryRows& rows, int64_t first) {
  QueryRows block = rows;
  block.queries += first * rows.row_stride;
  block.out += first * rows.row_stride;
  block.num_rows = std::min(rows.num_rows - first, kBlockRows);
  return block;
}

// Reads of one block inside a chunk.
class InsideReader {
 public:
  InsideReader(const float* weights, const float* momentum, int64_t first_row,
               int64_t step, const MemoryKernels& kernels,
               MemoryScratch& scratch, OpenChunk& chunk)
      : weights_(weights),
        momentum_(momentum),
        depth_(first_row + 1),
        step_(step),
        kernels_(kernels),
        scratch_(scratch),
        chunk_(chunk),
        spec_(chunk.spec) {}

  void Read(const QueryRows& rows) {
    FindRowWeights(rows.num_rows);
    LayerRows in = {rows.queries, rows.row_stride, rows.num_rows};
    for (int64_t l = 0; l < spec_.num_layers; ++l) {
      float* out = scratch_.rows[l % 2].data();
      const int64_t width = spec_.layer_outputs(l);
      ReadLayer(l, in, out);
      if (l + 1 < spec_.num_layers) {
        kernels_.activate(spec_.activation, out, in.num_rows * width, out,
                          nullptr);
      }
      in.x = out;
      in.stride = width;
    }
    const bool has_norm = spec_.norm != MemoryNorm::kNone;
    if (has_norm) FindGammas(rows.num_rows);
    WriteOutput(spec_, rows, in.x, scratch_.gammas.data(), spec_.head_dim,
                kernels_);
  }

 private:
  // Rows of the chunk that row r reads.
  int64_t depth(int64_t r) const { return depth_ + r * step_; }
  const float* row_weights(int64_t r) const {
    return scratch_.row_weights.data() + r * step_ * chunk_.row_capacity();
  }

  void FindRowWeights(int64_t num_rows) {
    const ChunkGates gates = chunk_.gates();
    for (int64_t r = 0; r < num_rows; ++r) {
      while (chunk_.prefix.num_rows() < depth(r)) chunk_.prefix.Next(gates);
      if (r == 0 || step_ != 0) {
        chunk_.prefix.Row(gates, scratch_.row_weights.data() +
                                     r * step_ * chunk_.row_capacity());
      }
      keep_[r] = chunk_.prefix.keep();
      carry_[r] = chunk_.prefix.carry();
    }
  }

  void ReadLayer(int64_t l, const LayerRows& in, float* out) {
    const int64_t width = spec_.layer_outputs(l);
    const int64_t begin = spec_.layer_begin(l);
    const int64_t capacity = chunk_.row_capacity();
    float* from_momentum = scratch_.momentum_row.data();
    MultiplyLayer(spec_, l, in, weights_ + begin, kernels_, out);
    MultiplyLayer(spec_, l, in, momentum_ + begin, kernels_, from_momentum);
    MemoryProduct scores;
    scores.a = in.x;
    scores.a_row_stride = in.stride;
    scores.b = chunk_.TransposedInputs(l);
    scores.b_stride = capacity;
    scores.out = scratch_.scores.data();
    scores.out_stride = capacity;
    scores.num_rows = in.num_rows;
    scores.num_cols = ToWhole16(depth(in.num_rows - 1));
    scores.depth = spec_.layer_inputs(l);
    kernels_.product(scores);
    for (int64_t r = 0; r < in.num_rows; ++r) {
      kernels_.blend(keep_[r], carry_[r], from_momentum + r * width, width,
                     out + r * width);
      // What lies beyond a row's depth is nobody's.
      kernels_.multiply(row_weights(r), ToWhole16(depth(r)),
                        scores.out + r * capacity);
    }
    MemoryProduct added;
    added.a = scores.out;
    added.a_row_stride = capacity;
    added.b = chunk_.Gradients(l, 0);
    added.b_stride = width;
    added.out = out;
    added.out_stride = width;
    added.num_rows = in.num_rows;
    added.num_cols = width;
    added.depth = depth_;
    added.depth_step = step_;
    added.add = true;
    kernels_.product(added);
  }

  void FindGammas(int64_t num_rows) {
    const int64_t d = spec_.head_dim;
    const int64_t begin = spec_.layer_begin(spec_.num_layers);
    MemoryProduct added;
    added.a = scratch_.row_weights.data();
    added.a_row_stride = step_ * chunk_.row_capacity();
    added.b = chunk_.gamma_gradients.data();
    added.b_stride = d;
    added.out = scratch_.gammas.data();
    added.out_stride = d;
    added.num_rows = num_rows;
    added.num_cols = d;
    added.depth = depth_;
    added.depth_step = step_;
    added.add = true;
    for (int64_t r = 0; r < num_rows; ++r) {
      float* gamma = added.out + r * d;
      std::copy_n(weights_ + begin, d, gamma);
      kernels_.blend(keep_[r], carry_[r], momentum_ + begin, d, gamma);
    }
    kernels_.product(added);
  }

  const float* weights_;
  const float* momentum_;
  const int64_t depth_;
  const int64_t step_;
  const MemoryKernels& kernels_;
  MemoryScratch& scratch_;
  OpenChunk& chunk_;
  const MemorySpec& spec_;
  float keep_[kBlockRows] = {};
  float carry_[kBlockRows] = {};
};

void MakeReadable(const MemoryKernels& kernels, OpenChunk& chunk) {
  const MemorySpec& spec = chunk.spec;
  const int64_t capacity = chunk.row_capacity();
  chunk.transposed_inputs.Reserve(
      (spec.head_dim + (spec.num_layers - 1) * spec.hidden_dim) * capacity);
  const int64_t first = chunk.num_readable;
  for (int64_t l = 0; l < spec.num_layers; ++l) {
    const int64_t width = spec.layer_inputs(l);
    kernels.transpose(chunk.Inputs(l, first), width, chunk.num_computed - first,
                      width, chunk.TransposedInputs(l) + first, capacity);
  }
  chunk.num_readable = chunk.num_computed;
}

}  // namespace

void ReadWeights(const MemorySpec& spec, const float* weights,
                 const QueryRows& rows, const MemoryKernels& kernels,
                 MemoryScratch& scratch) {
  for (int64_t first = 0; first < rows.num_rows; first += kBlockRows) {
    const QueryRows block = BlockOf(rows, first);
    LayerRows in = {block.queries, block.row_stride, block.num_rows};
    for (int64_t l = 0; l < spec.num_layers; ++l) {
      float* out = scratch.rows[l % 2].data();
      const int64_t width = spec.layer_outputs(l);
      MultiplyLayer(spec, l, in, weights + spec.layer_begin(l), kernels, out);
      if (l + 1 < spec.num_layers) {
        kernels.activate(spec.activation, out, in.num_rows * width, out,
                         nullptr);
      }
      in.x = out;
      in.stride = width;
    }
    WriteOutput(spec, block, in.x, weights + spec.layer_begin(spec.num_layers),
                0, kernels);
  }
}

void ReadInsideChunk(const float* weights, const float* momentum,
                     const QueryRows& rows, int64_t first_row, int64_t step,
                     const MemoryKernels& kernels, MemoryScratch& scratch,
                     OpenChunk& chunk) {
  MakeReadable(kernels, chunk);
  for (int64_t first = 0; first < rows.num_rows; first += kBlockRows) {
    InsideReader reader(weights, momentum, first_row + first * step, step,
                        kernels, scratch, chunk);
    reader.Read(BlockOf(rows, first));
  }
}

}  // namespace headwise
