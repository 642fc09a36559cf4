#include "worker/sessions/float_bytes.h"

#include <cmath>
#include <cstring>

#include "model/files/half_floats.h"

namespace headwise {
namespace {

uint16_t HalfAt(const uint8_t* bytes, int64_t i) {
  uint16_t half;
  std::memcpy(&half, bytes + 2 * i, 2);
  return half;
}

float FloatAt(FloatType type, const uint8_t* bytes, int64_t i) {
  if (type == FloatType::kFp16) return Fp16ToFloat(HalfAt(bytes, i));
  if (type == FloatType::kBf16) return Bf16ToFloat(HalfAt(bytes, i));
  float x;
  std::memcpy(&x, bytes + 4 * i, 4);
  return x;
}

}  // namespace

const char* FloatTypeName(FloatType type) {
  switch (type) {
    case FloatType::kFp32:
      return "fp32";
    case FloatType::kFp16:
      return "fp16";
    case FloatType::kBf16:
      return "bf16";
  }
  return "unknown";
}

void ReadFloats(FloatType type, const uint8_t* bytes, int64_t n, float* out) {
  if (n == 0) return;
  if (type == FloatType::kFp32) {
    std::memcpy(out, bytes, static_cast<size_t>(n) * 4);
    return;
  }
  for (int64_t i = 0; i < n; ++i) out[i] = FloatAt(type, bytes, i);
}

void WriteFloats(FloatType type, const float* x, int64_t n, uint8_t* bytes) {
  if (n == 0) return;
  if (type == FloatType::kFp32) {
    std::memcpy(bytes, x, static_cast<size_t>(n) * 4);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half =
        type == FloatType::kFp16 ? FloatToFp16(x[i]) : FloatToBf16(x[i]);
    std::memcpy(bytes + 2 * i, &half, 2);
  }
}

int64_t FirstNotBelow(FloatType type, const uint8_t* bytes, int64_t n,
                      float limit) {
  constexpr int64_t kStride = 256;  // looked at together, so that it is quick
  for (int64_t begin = 0; begin < n; begin += kStride) {
    const int64_t end = begin + kStride < n ? begin + kStride : n;
    bool all_below = true;
    for (int64_t i = begin; i < end; ++i) {
      all_below &= std::fabs(FloatAt(type, bytes, i)) < limit;
    }
    for (int64_t i = begin; !all_below && i < end; ++i) {
      if (!(std::fabs(FloatAt(type, bytes, i)) < limit)) return i;
    }
  }
  return n;
}

}  // namespace headwise
