// The weights of a tiny model.

#ifndef HEADWISE_MODEL_FILES_TEST_MODEL_WEIGHTS_H_
#define HEADWISE_MODEL_FILES_TEST_MODEL_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/files/test_model_options.h"
#include "model/hyperparameters.h"
#include "model/tensor.h"

namespace headwise {

struct TinyTensor {
  std::string name;            // GGUF's
  std::vector<int64_t> shape;  // outermost first
  DType dtype = DType::kF32;
  std::string bytes;

  TensorView View() const;
};

// What a reader must find in either file format, but for rope.layout and
// rope.frequency_divisors.
Hyperparameters TinyHyperparameters(const TinyModelOptions& options);

// All tensors of the model, rows of q and k in the half-split order that
// safetensors files have. Matrix elements are uniform with variance 1 /
// columns, norms lie in [0.9, 1.1], biases in [-0.1, 0.1]. A quantized matrix
// is random blocks with scales to that effect, so its weights are exactly what
// DequantizeRow says and nothing is lost in quantizing.
std::vector<TinyTensor> MakeTinyWeights(const TinyModelOptions& options);

// The rows of a q or k tensor (weight or bias) in the interleaved order of
// llama GGUF files: row 2i + p of a head is row p * head_dim / 2 + i here.
TinyTensor Interleaved(const TinyTensor& tensor, int64_t head_dim);

// The same values as F32, F16 or BF16.
TinyTensor Converted(const TinyTensor& tensor, DType float_dtype);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_MODEL_WEIGHTS_H_
