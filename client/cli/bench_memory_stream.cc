#include "client/cli/bench_memory_stream.h"

#include <array>
#include <bit>
#include <cmath>

#include "base/counter_random.h"

namespace headwise {
namespace {

// Of the counter: rows of two kinds have nothing in common.
enum Kind : uint32_t {
  kNeedleKeys,
  kCandidates,
  kFillerKeys,
  kFillerValues,
  kWeights
};

// 16 bytes, little-endian whatever the machine.
std::array<uint8_t, 16> BytesAt(uint64_t seed, uint32_t kind, int64_t row,
                                int64_t block) {
  const auto at = static_cast<uint64_t>(row);
  const std::array<uint32_t, 4> words = Philox4x32(
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), kind,
       static_cast<uint32_t>(block)});
  static_assert(std::endian::native == std::endian::little);
  return std::bit_cast<std::array<uint8_t, 16>>(words);
}

}  // namespace

void MemoryStream::UnitRows(uint32_t kind, int64_t first, int64_t count,
                            float* rows) const {
  const int64_t blocks_per_head = head_dim_ / 16;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t head = 0; head < num_heads_; ++head) {
      float* out = rows + r * row_floats() + head * head_dim_;
      int32_t squares = 0;  // below 2^24, so exact as a float too
      for (int64_t b = 0; b < blocks_per_head; ++b) {
        const std::array<uint8_t, 16> bytes =
            BytesAt(seed_, kind, first + r, head * blocks_per_head + b);
        for (int64_t i = 0; i < 16; ++i) {
          const int32_t odd = 2 * bytes[static_cast<size_t>(i)] - 255;
          squares += odd * odd;
          out[16 * b + i] = static_cast<float>(odd);
        }
      }
      const float factor = 1.0f / std::sqrt(static_cast<float>(squares));
      for (int64_t i = 0; i < head_dim_; ++i) out[i] *= factor;
    }
  }
}

void MemoryStream::NeedleKeys(int64_t first, int64_t count, float* rows) const {
  UnitRows(kNeedleKeys, first, count, rows);
}

void MemoryStream::Candidates(int64_t first, int64_t count, float* rows) const {
  UnitRows(kCandidates, first, count, rows);
}

void MemoryStream::FillerKeys(int64_t first, int64_t count, float* rows) const {
  UnitRows(kFillerKeys, first, count, rows);
}

void MemoryStream::FillerValues(int64_t first, int64_t count,
                                float* rows) const {
  UnitRows(kFillerValues, first, count, rows);
}

std::vector<float> MemoryStream::InitialWeights(const MemorySpec& spec,
                                                int64_t head) const {
  std::vector<float> weights(static_cast<size_t>(spec.num_weights()), 0.0f);
  if (spec.num_layers == 1) return weights;
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    const auto width = static_cast<float>(spec.layer_inputs(layer) +
                                          spec.layer_outputs(layer));
    const float bound = std::sqrt(6.0f / width);
    for (int64_t i = spec.layer_begin(layer); i < spec.layer_begin(layer + 1);
         ++i) {
      const double uniform =
          UniformAt(seed_, (int64_t{kWeights} + head) << 32 | i);
      weights[static_cast<size_t>(i)] =
          bound * static_cast<float>(2.0 * uniform - 1.0);
    }
  }
  return weights;
}

}  // namespace headwise
