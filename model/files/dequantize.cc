// What each quantized format means. Layouts are GGML's (ggml-common.h of
// llama.cpp); all arithmetic is fp32 in the order written here, no fused
// operations, so that a kernel can be compared bit by bit.
//
// A nibble byte of a 32-element block holds element j in its low half and
// element j + 16 in its high half.

#include <cstring>

#include "base/check.h"
#include "model/files/half_floats.h"
#include "model/tensor.h"

namespace headwise {

namespace {

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

uint32_t LoadU32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

float LoadFp16(const uint8_t* bytes) { return Fp16ToFloat(LoadU16(bytes)); }

void F32(const uint8_t* block, float* out) {
  std::memcpy(out, block, sizeof(float));
}

void F16(const uint8_t* block, float* out) { *out = LoadFp16(block); }

void Bf16(const uint8_t* block, float* out) {
  *out = Bf16ToFloat(LoadU16(block));
}

// fp16 d; int8 q[32].  x = d * q
void Q8_0(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  for (int j = 0; j < 32; ++j) {
    out[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
  }
}

// fp16 d; nibbles q[16].  x = d * (q - 8)
void Q4_0(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  for (int j = 0; j < 16; ++j) {
    const int q = block[2 + j];
    out[j] = d * static_cast<float>((q & 15) - 8);
    out[j + 16] = d * static_cast<float>((q >> 4) - 8);
  }
}

// fp16 d, m; nibbles q[16].  x = d * q + m
void Q4_1(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  const float m = LoadFp16(block + 2);
  for (int j = 0; j < 16; ++j) {
    const int q = block[4 + j];
    out[j] = d * static_cast<float>(q & 15) + m;
    out[j + 16] = d * static_cast<float>(q >> 4) + m;
  }
}

// Bit j of `high` is the fifth bit of element j.
int FifthBit(uint32_t high, int j) { return ((high >> j) & 1) << 4; }

// fp16 d; u32 high bits; nibbles q[16].  x = d * (q - 16)
void Q5_0(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  const uint32_t high = LoadU32(block + 2);
  for (int j = 0; j < 16; ++j) {
    const int q = block[6 + j];
    out[j] = d * static_cast<float>(((q & 15) | FifthBit(high, j)) - 16);
    out[j + 16] =
        d * static_cast<float>(((q >> 4) | FifthBit(high, j + 16)) - 16);
  }
}

// fp16 d, m; u32 high bits; nibbles q[16].  x = d * q + m
void Q5_1(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  const float m = LoadFp16(block + 2);
  const uint32_t high = LoadU32(block + 4);
  for (int j = 0; j < 16; ++j) {
    const int q = block[8 + j];
    out[j] = d * static_cast<float>((q & 15) | FifthBit(high, j)) + m;
    out[j + 16] = d * static_cast<float>((q >> 4) | FifthBit(high, j + 16)) + m;
  }
}

struct ScaleMin {
  float scale;
  float min;
};

// The 6-bit scale and min of group j (of eight groups of 32 elements), packed
// into 12 bytes: groups 0..3 in the low 6 bits of bytes j and j + 4;
// groups 4..7 have their low 4 bits in byte j + 4 and their high 2 bits in the
// top of bytes j - 4 and j.
ScaleMin UnpackScaleMin(const uint8_t* packed, int j) {
  if (j < 4) {
    return {static_cast<float>(packed[j] & 63),
            static_cast<float>(packed[j + 4] & 63)};
  }
  const int scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
  const int min = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// fp16 d, dmin; scales[12]; nibbles q[128].  Group j of 32 elements lies in the
// low (j even) or high (j odd) nibbles of bytes 32 * (j / 2) ... + 31.
//   x = (d * scale_j) * q - dmin * min_j
void Q4K(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  const float dmin = LoadFp16(block + 2);
  const uint8_t* quants = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleMin group = UnpackScaleMin(block + 4, j);
    const float scale = d * group.scale;
    const float min = dmin * group.min;
    const int shift = (j % 2) * 4;
    for (int l = 0; l < 32; ++l) {
      const int q = (quants[j / 2 * 32 + l] >> shift) & 15;
      out[j * 32 + l] = scale * static_cast<float>(q) - min;
    }
  }
}

// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit j of byte l
// belongs to element l of group j.
void Q5K(const uint8_t* block, float* out) {
  const float d = LoadFp16(block);
  const float dmin = LoadFp16(block + 2);
  const uint8_t* high = block + 16;
  const uint8_t* quants = block + 48;
  for (int j = 0; j < 8; ++j) {
    const ScaleMin group = UnpackScaleMin(block + 4, j);
    const float scale = d * group.scale;
    const float min = dmin * group.min;
    const int shift = (j % 2) * 4;
    for (int l = 0; l < 32; ++l) {
      const int q =
          ((quants[j / 2 * 32 + l] >> shift) & 15) | FifthBit(high[l], j);
      out[j * 32 + l] = scale * static_cast<float>(q) - min;
    }
  }
}

// low[128]; high[64]; int8 scales[16]; fp16 d.  Each half of 128 elements has
// four runs of 32: runs 0 and 1 in the low nibbles of its 64 low bytes, 2 and 3
// in the high ones; run r's upper two bits are bits 2r, 2r + 1 of its 32 high
// bytes. One scale for 16 elements.  x = (d * scale) * (q - 32)
void Q6K(const uint8_t* block, float* out) {
  const float d = LoadFp16(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    const uint8_t* scales = block + 192 + half * 8;
    for (int run = 0; run < 4; ++run) {
      for (int l = 0; l < 32; ++l) {
        const int nibble = (low[run % 2 * 32 + l] >> (run / 2 * 4)) & 15;
        const int q = (nibble | (((high[l] >> (run * 2)) & 3) << 4)) - 32;
        const auto scale = static_cast<int8_t>(scales[run * 2 + l / 16]);
        out[half * 128 + run * 32 + l] =
            d * static_cast<float>(scale) * static_cast<float>(q);
      }
    }
  }
}

using DequantizeBlock = void (*)(const uint8_t* block, float* out);

DequantizeBlock BlockFunction(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return F32;
    case DType::kF16:
      return F16;
    case DType::kBF16:
      return Bf16;
    case DType::kQ8_0:
      return Q8_0;
    case DType::kQ4_0:
      return Q4_0;
    case DType::kQ4_1:
      return Q4_1;
    case DType::kQ5_0:
      return Q5_0;
    case DType::kQ5_1:
      return Q5_1;
    case DType::kQ4_K:
      return Q4K;
    case DType::kQ5_K:
      return Q5K;
    case DType::kQ6_K:
      return Q6K;
  }
  HEADWISE_CHECK(false && "a DType outside its enumerators");
}

}  // namespace

void DequantizeRow(const TensorView& tensor, int64_t row,
                   absl::Span<float> out) {
  HEADWISE_CHECK(row >= 0 && row < tensor.rows());
  HEADWISE_CHECK(static_cast<int64_t>(out.size()) == tensor.cols());
  const DTypeInfo& info = InfoOf(tensor.dtype);
  const DequantizeBlock dequantize = BlockFunction(tensor.dtype);
  const uint8_t* block = tensor.bytes.data() + row * tensor.row_bytes();
  for (int64_t col = 0; col < tensor.cols(); col += info.block_len) {
    dequantize(block, out.data() + col);
    block += info.block_bytes;
  }
}

}  // namespace headwise
