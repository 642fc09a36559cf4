#include "worker/backends/cpu/weight_blocks.h"

#include <cstring>

#include "base/check.h"
#include "model/files/half_floats.h"

namespace headwise {
namespace {

uint16_t ReadHalf(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return half;
}

float ReadFloatOfHalf(const uint8_t* p) { return Fp16ToFloat(ReadHalf(p)); }

void SetScale(float scale, float minimum, WeightBlock32* out) {
  out->scale[0] = scale;
  out->scale[1] = scale;
  out->minimum = minimum;
}

// 16 bytes whose low nibbles are elements 0..15, the high ones 16..31.
void SplitNibbles(const uint8_t* nibbles, int8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = static_cast<int8_t>(nibbles[i] & 0x0f);
    q[16 + i] = static_cast<int8_t>(nibbles[i] >> 4);
  }
}

// Adds 16 where the 32-bit mask has a bit: the fifth bit of Q5_0 and Q5_1.
void AddFifthBits(const uint8_t* mask_bytes, int8_t* q) {
  uint32_t mask;
  std::memcpy(&mask, mask_bytes, sizeof(mask));
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<int8_t>(q[i] + (mask >> i & 1) * 16);
  }
}

// Six-bit scale and minimum of sub-block j of Q4_K and Q5_K.
void ScaleAndMin(const uint8_t* packed, int64_t j, int* scale, int* minimum) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *minimum = packed[j + 4] & 63;
    return;
  }
  *scale = (packed[j + 4] & 0x0f) | (packed[j - 4] >> 6) << 4;
  *minimum = packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
}

// 32 nibbles of sub-block j in a super-block's 128 bytes: two sub-blocks share
// 32 bytes, the even one below.
void SuperNibbles(const uint8_t* quants, int64_t j, int8_t* q) {
  const uint8_t* bytes = quants + j / 2 * 32;
  const int shift = j % 2 == 0 ? 0 : 4;
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<int8_t>(bytes[i] >> shift & 0x0f);
  }
}

void ReadKBlock(const uint8_t* super, int64_t j, const uint8_t* high_bits,
                const uint8_t* quants, WeightBlock32* out) {
  int scale, minimum;
  ScaleAndMin(super + 4, j, &scale, &minimum);
  SetScale(ReadFloatOfHalf(super) * static_cast<float>(scale),
           -(ReadFloatOfHalf(super + 2) * static_cast<float>(minimum)), out);
  SuperNibbles(quants, j, out->q);
  if (high_bits == nullptr) return;
  for (int i = 0; i < 32; ++i) {
    out->q[i] = static_cast<int8_t>(out->q[i] + (high_bits[i] >> j & 1) * 16);
  }
}

// Q6_K: 128 bytes of low nibbles, 64 of upper pairs of bits, 16 scales, fp16.
void ReadQ6KBlock(const uint8_t* super, int64_t j, WeightBlock32* out) {
  const int64_t half = j / 4;  // of 128 elements
  const int64_t quarter = j % 4;
  const uint8_t* low = super + 64 * half + 32 * (quarter % 2);
  const uint8_t* high = super + 128 + 32 * half;
  const auto* scales = reinterpret_cast<const int8_t*>(super + 192);
  const float d = ReadFloatOfHalf(super + 208);
  for (int i = 0; i < 32; ++i) {
    const int nibble = quarter < 2 ? low[i] & 0x0f : low[i] >> 4;
    const int upper = high[i] >> (2 * quarter) & 3;
    out->q[i] = static_cast<int8_t>((nibble | upper << 4) - 32);
  }
  out->scale[0] = d * static_cast<float>(scales[2 * j]);
  out->scale[1] = d * static_cast<float>(scales[2 * j + 1]);
  out->minimum = 0.0f;
}

}  // namespace

void ReadWeightBlock(DType dtype, const uint8_t* row, int64_t block,
                     WeightBlock32* out) {
  const DTypeInfo& info = InfoOf(dtype);
  const uint8_t* p = row + block * 32 / info.block_len * info.block_bytes;
  const int64_t j = block % (info.block_len / 32);  // within a super-block
  switch (dtype) {
    case DType::kQ8_0:
      SetScale(ReadFloatOfHalf(p), 0.0f, out);
      std::memcpy(out->q, p + 2, 32);
      return;
    case DType::kQ4_0: {
      const float scale = ReadFloatOfHalf(p);
      SetScale(scale, -8.0f * scale, out);
      return SplitNibbles(p + 2, out->q);
    }
    case DType::kQ4_1:
      SetScale(ReadFloatOfHalf(p), ReadFloatOfHalf(p + 2), out);
      return SplitNibbles(p + 4, out->q);
    case DType::kQ5_0:
      SetScale(ReadFloatOfHalf(p), 0.0f, out);
      SplitNibbles(p + 6, out->q);
      AddFifthBits(p + 2, out->q);
      for (int8_t& q : out->q) q = static_cast<int8_t>(q - 16);
      return;
    case DType::kQ5_1:
      SetScale(ReadFloatOfHalf(p), ReadFloatOfHalf(p + 2), out);
      SplitNibbles(p + 8, out->q);
      return AddFifthBits(p + 4, out->q);
    case DType::kQ4_K:
      return ReadKBlock(p, j, nullptr, p + 16, out);
    case DType::kQ5_K:
      return ReadKBlock(p, j, p + 16, p + 48, out);
    case DType::kQ6_K:
      return ReadQ6KBlock(p, j, out);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  HEADWISE_CHECK(false);
}

}  // namespace headwise
