#include "worker/neural_memory/chunk_gradients.h"

#include <algorithm>
#include <cmath>

namespace headwise {
namespace {

void TransposeWeights(const float* weights, const MemoryKernels& kernels,
                      OpenChunk& chunk) {
  const MemorySpec& spec = chunk.spec;
  for (int64_t l = 1; l < spec.num_layers; ++l) {
    const int64_t begin = spec.layer_begin(l);
    kernels.transpose(weights + begin, spec.layer_outputs(l),
                      spec.layer_inputs(l), spec.layer_outputs(l),
                      chunk.transposed_weights.data() + begin,
                      spec.layer_inputs(l));
  }
}

// Of the activations behind a layer, [kBlockRows][hidden_dim].
float* Slopes(int64_t layer, const MemorySpec& spec, MemoryScratch& scratch) {
  return scratch.slopes.data() +
         layer * MemoryScratch::kBlockRows * spec.hidden_dim;
}

// Rows [first, first + n) up to the MLP's output, in scratch.mlp, and the
// slopes of the activations, in scratch.slopes.
void Forward(const float* weights, int64_t first, int64_t n,
             const MemoryKernels& kernels, MemoryScratch& scratch,
             OpenChunk& chunk) {
  const MemorySpec& spec = chunk.spec;
  const int64_t last_layer = spec.num_layers - 1;
  for (int64_t l = 0; l <= last_layer; ++l) {
    const int64_t width = spec.layer_outputs(l);
    float* out =
        l == last_layer ? scratch.mlp.data() : Slopes(l, spec, scratch);
    MemoryProduct product;
    product.a = chunk.Inputs(l, first);
    product.a_row_stride = spec.layer_inputs(l);
    product.b = weights + spec.layer_begin(l);
    product.b_stride = width;
    product.out = out;
    product.out_stride = width;
    product.num_rows = n;
    product.num_cols = width;
    product.depth = spec.layer_inputs(l);
    kernels.product(product);
    if (l == last_layer) return;
    kernels.activate(spec.activation, out, n * width,
                     chunk.Inputs(l + 1, first), out);
  }
}

void Backward(const float* weights, int64_t first, int64_t n,
              const MemoryKernels& kernels, MemoryScratch& scratch,
              OpenChunk& chunk) {
  const MemorySpec& spec = chunk.spec;
  const int64_t d = spec.head_dim;
  MemoryLossArgs loss;
  loss.norm = spec.norm;
  loss.loss_scale = spec.loss_scale;
  loss.num_rows = n;
  loss.head_dim = d;
  loss.mlp = scratch.mlp.data();
  loss.residual = spec.residual ? chunk.keys.data() + first * d : nullptr;
  loss.values = chunk.values.data() + first * d;
  loss.mlp_grad = chunk.Gradients(spec.num_layers - 1, first);
  if (spec.norm != MemoryNorm::kNone) {
    loss.gamma = weights + spec.layer_begin(spec.num_layers);
    loss.gamma_grad = chunk.gamma_gradients.data() + first * d;
  }
  kernels.loss_gradient(loss);
  for (int64_t l = spec.num_layers - 2; l >= 0; --l) {
    const int64_t width = spec.layer_outputs(l);
    MemoryProduct product;
    product.a = chunk.Gradients(l + 1, first);
    product.a_row_stride = spec.layer_outputs(l + 1);
    product.b = chunk.transposed_weights.data() + spec.layer_begin(l + 1);
    product.b_stride = width;
    product.out = chunk.Gradients(l, first);
    product.out_stride = width;
    product.num_rows = n;
    product.num_cols = width;
    product.depth = spec.layer_outputs(l + 1);
    kernels.product(product);
    kernels.multiply(Slopes(l, spec, scratch), n * width, product.out);
  }
}

}  // namespace

void ComputeRows(const float* weights, const MemoryKernels& kernels,
                 MemoryScratch& scratch, OpenChunk& chunk) {
  if (chunk.num_computed == 0) TransposeWeights(weights, kernels, chunk);
  while (chunk.num_computed < chunk.num_rows) {
    const int64_t first = chunk.num_computed;
    const int64_t n =
        std::min(chunk.num_rows - first, MemoryScratch::kBlockRows);
    Forward(weights, first, n, kernels, scratch, chunk);
    Backward(weights, first, n, kernels, scratch, chunk);
    chunk.num_computed += n;
  }
}

float SurpriseOf(const MemoryKernels& kernels, OpenChunk& chunk, int64_t row) {
  const MemorySpec& spec = chunk.spec;
  double squares = 0.0;
  for (int64_t l = 0; l < spec.num_layers; ++l) {
    // An outer product's squares add up to the product of its sides' sums.
    const double inputs =
        kernels.sum_of_squares(chunk.Inputs(l, row), spec.layer_inputs(l));
    squares += inputs * kernels.sum_of_squares(chunk.Gradients(l, row),
                                               spec.layer_outputs(l));
  }
  if (spec.norm != MemoryNorm::kNone) {
    squares += kernels.sum_of_squares(
        chunk.gamma_gradients.data() + row * spec.head_dim, spec.head_dim);
  }
  return static_cast<float>(std::sqrt(squares));
}

void SumGradients(const float* row_weights, const MemoryKernels& kernels,
                  MemoryScratch& scratch, OpenChunk& chunk, float* sums) {
  const MemorySpec& spec = chunk.spec;
  for (int64_t l = 0; l < spec.num_layers; ++l) {
    const int64_t width = spec.layer_outputs(l);
    for (int64_t first = 0; first < chunk.num_rows;
         first += MemoryScratch::kBlockRows) {
      const int64_t n =
          std::min(chunk.num_rows - first, MemoryScratch::kBlockRows);
      float* scaled = scratch.scaled.data();
      for (int64_t i = 0; i < n; ++i) {
        kernels.scale(row_weights[first + i], chunk.Gradients(l, first + i),
                      width, scaled + i * width);
      }
      MemoryProduct product;
      product.a = chunk.Inputs(l, first);
      product.a_row_stride = 1;  // transposed
      product.a_depth_stride = spec.layer_inputs(l);
      product.b = scaled;
      product.b_stride = width;
      product.out = sums + spec.layer_begin(l);
      product.out_stride = width;
      product.num_rows = spec.layer_inputs(l);
      product.num_cols = width;
      product.depth = n;
      product.add = first > 0;
      kernels.product(product);
    }
  }
  if (spec.norm == MemoryNorm::kNone) return;
  MemoryProduct product;
  product.a = row_weights;
  product.b = chunk.gamma_gradients.data();
  product.b_stride = spec.head_dim;
  product.out = sums + spec.layer_begin(spec.num_layers);
  product.num_rows = 1;
  product.num_cols = spec.head_dim;
  product.depth = chunk.num_rows;
  kernels.product(product);
}

}  // namespace headwise
