// Tensors as callers send them: little-endian bytes of one of three types.

#ifndef HEADWISE_WORKER_SESSIONS_FLOAT_BYTES_H_
#define HEADWISE_WORKER_SESSIONS_FLOAT_BYTES_H_

#include <cstdint>

namespace headwise {

enum class FloatType : uint8_t { kFp32, kFp16, kBf16 };

constexpr int64_t FloatBytes(FloatType type) {
  return type == FloatType::kFp32 ? 4 : 2;
}
const char* FloatTypeName(FloatType type);  // "fp32"

// n elements, exact.
void ReadFloats(FloatType type, const uint8_t* bytes, int64_t n, float* out);
// To nearest, ties to even.
void WriteFloats(FloatType type, const float* x, int64_t n, uint8_t* bytes);

// The first of n elements whose size is not below `limit`, or that is NaN; n if
// there is none. With `limit` infinite: the first that is not finite.
int64_t FirstNotBelow(FloatType type, const uint8_t* bytes, int64_t n,
                      float limit);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_FLOAT_BYTES_H_
