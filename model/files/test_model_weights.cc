#include "model/files/test_model_weights.h"

#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "base/check.h"
#include "model/files/half_floats.h"
#include "model/files/required_tensors.h"

namespace headwise {

namespace {

// splitmix64 (Steele, Lea, Flood, 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint8_t Byte() { return static_cast<uint8_t>(Next() >> 56); }
  // In [low, high).
  float Uniform(float low, float high) {
    return low + (high - low) * (static_cast<float>(Next() >> 40) * 0x1p-24f);
  }
  int Below(int limit) {
    return static_cast<int>((Next() >> 33) % static_cast<uint64_t>(limit));
  }

 private:
  uint64_t state_;
};

void AppendU16(uint16_t value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendFloat(DType dtype, float value, std::string& bytes) {
  switch (dtype) {
    case DType::kF32:
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
      return;
    case DType::kF16:
      AppendU16(FloatToFp16(value), bytes);
      return;
    case DType::kBF16:
      AppendU16(FloatToBf16(value), bytes);
      return;
    default:
      HEADWISE_CHECK(false && "not a float dtype");
  }
}

void AppendRandomBytes(int count, Random& random, std::string& bytes) {
  for (int i = 0; i < count; ++i) {
    bytes.push_back(static_cast<char>(random.Byte()));
  }
}

// Eight 6-bit scales in [32, 63] and mins within 4 of them, packed as Q4_K and
// Q5_K have them.
void AppendScaleMins(Random& random, std::string& bytes) {
  uint8_t packed[12] = {};
  for (int j = 0; j < 8; ++j) {
    const int scale = 32 + random.Below(32);
    const int min = std::min(63, scale + random.Below(5));
    if (j < 4) {
      packed[j] |= static_cast<uint8_t>(scale);
      packed[j + 4] |= static_cast<uint8_t>(min);
    } else {
      packed[j + 4] = static_cast<uint8_t>((scale & 15) | ((min & 15) << 4));
      packed[j - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
      packed[j] |= static_cast<uint8_t>((min >> 4) << 6);
    }
  }
  bytes.append(reinterpret_cast<const char*>(packed), sizeof(packed));
}

void AppendQ6K(float range, Random& random, std::string& bytes) {
  AppendRandomBytes(128 + 64, random, bytes);
  for (int i = 0; i < 16; ++i) {
    const int scale = 32 + random.Below(96);
    bytes.push_back(static_cast<char>(random.Below(2) == 0 ? scale : -scale));
  }
  AppendU16(FloatToFp16(range / (32 * 127)), bytes);
}

// One random block whose values lie in about [-range, range].
void AppendBlock(DType dtype, float range, Random& random, std::string& bytes) {
  const float jittered = range * random.Uniform(0.75f, 1.0f);
  const auto append_scale = [&](float divisor) {
    AppendU16(FloatToFp16(jittered / divisor), bytes);
  };
  switch (dtype) {
    case DType::kQ8_0:
      append_scale(127);
      break;
    case DType::kQ4_0:
      append_scale(8);
      break;
    case DType::kQ5_0:
      append_scale(16);
      break;
    case DType::kQ4_1:
      append_scale(7.5f);
      append_scale(-1);
      break;
    case DType::kQ5_1:
      append_scale(15.5f);
      append_scale(-1);
      break;
    case DType::kQ4_K:
      append_scale(7.5f * 63);
      append_scale(63);
      AppendScaleMins(random, bytes);
      break;
    case DType::kQ5_K:
      append_scale(15.5f * 63);
      append_scale(63);
      AppendScaleMins(random, bytes);
      break;
    case DType::kQ6_K:
      AppendQ6K(jittered, random, bytes);
      return;
    default:
      AppendFloat(dtype, random.Uniform(-range, range), bytes);
      return;
  }
  const int64_t done_bytes = static_cast<int64_t>(bytes.size());
  const int64_t block_bytes = InfoOf(dtype).block_bytes;
  // Blocks are appended whole, so the rest of this one is quants.
  AppendRandomBytes(
      static_cast<int>((block_bytes - done_bytes % block_bytes) % block_bytes),
      random, bytes);
}

int64_t NumElements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

DType DTypeFor(const TinyModelOptions& options, const RequiredTensor& tensor) {
  if (tensor.shape.size() == 1) return DType::kF32;
  const bool is_embedding =
      tensor.name == "token_embd.weight" || tensor.name == "output.weight";
  return is_embedding ? options.embedding_dtype.value_or(options.dtype)
                      : options.dtype;
}

// `num_inputs`: of a matrix, what its variance is for.
TinyTensor MakeTensor(const RequiredTensor& required, DType dtype,
                      int64_t num_inputs, Random& random) {
  TinyTensor tensor;
  tensor.name = required.name;
  tensor.shape = required.shape;
  tensor.dtype = dtype;
  const int64_t num_elements = NumElements(required.shape);
  if (required.shape.size() == 1) {
    const bool is_bias = absl::EndsWith(required.name, ".bias");
    for (int64_t i = 0; i < num_elements; ++i) {
      AppendFloat(
          dtype,
          is_bias ? random.Uniform(-0.1f, 0.1f) : random.Uniform(0.9f, 1.1f),
          tensor.bytes);
    }
    return tensor;
  }
  const int64_t block_len = InfoOf(dtype).block_len;
  HEADWISE_CHECK(required.shape.back() % block_len == 0);
  // Uniform in +-range has variance range^2 / 3.
  const float range = std::sqrt(3.0f / static_cast<float>(num_inputs));
  for (int64_t i = 0; i < num_elements / block_len; ++i) {
    AppendBlock(dtype, range, random, tensor.bytes);
  }
  return tensor;
}

}  // namespace

TensorView TinyTensor::View() const {
  TensorView view;
  view.name = name;
  view.dtype = dtype;
  view.shape = shape;
  view.bytes = absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return view;
}

Hyperparameters TinyHyperparameters(const TinyModelOptions& options) {
  Hyperparameters hyper;
  hyper.architecture = options.architecture;
  hyper.name = "tiny";
  hyper.num_layers = options.num_layers;
  hyper.num_heads = options.num_heads;
  hyper.num_kv_heads = options.num_kv_heads;
  hyper.head_dim = options.head_dim;
  hyper.model_dim = options.model_dim;
  hyper.ffn_dim = options.ffn_dim;
  hyper.vocab_size = options.vocab_size;
  hyper.max_context_len = options.max_context_len;
  hyper.norm_epsilon = options.norm_epsilon;
  hyper.rope.base = options.rope_base;
  hyper.rope.rotary_dim = options.head_dim;
  hyper.rope.scaling = options.rope_scaling;
  hyper.qkv_bias = options.architecture == Architecture::kQwen2;
  hyper.qk_norm = options.architecture == Architecture::kQwen3;
  hyper.tied_embeddings = options.tied_embeddings;
  hyper.titans = options.titans;
  return hyper;
}

std::vector<TinyTensor> MakeTinyWeights(const TinyModelOptions& options) {
  std::vector<TinyTensor> tensors;
  Random random(options.seed);
  for (const RequiredTensor& required :
       RequiredTensors(TinyHyperparameters(options))) {
    // A row of these is all the matrices of a memory.
    const bool is_memory = absl::EndsWith(required.name, ".mem_init");
    tensors.push_back(MakeTensor(
        required, DTypeFor(options, required),
        is_memory ? options.head_dim : required.shape.back(), random));
  }
  return tensors;
}

TinyTensor Interleaved(const TinyTensor& tensor, int64_t head_dim) {
  const int64_t num_rows = tensor.shape[0];
  const int64_t row_bytes =
      static_cast<int64_t>(tensor.bytes.size()) / num_rows;
  TinyTensor result = tensor;
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t in_head = row % head_dim;
    const int64_t source =
        row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
    std::memcpy(result.bytes.data() + row * row_bytes,
                tensor.bytes.data() + source * row_bytes, row_bytes);
  }
  return result;
}

TinyTensor Converted(const TinyTensor& tensor, DType float_dtype) {
  const TensorView view = tensor.View();
  TinyTensor result = tensor;
  result.dtype = float_dtype;
  result.bytes.clear();
  std::vector<float> row(view.cols());
  for (int64_t r = 0; r < view.rows(); ++r) {
    DequantizeRow(view, r, absl::MakeSpan(row));
    for (const float value : row) AppendFloat(float_dtype, value, result.bytes);
  }
  return result;
}

}  // namespace headwise
