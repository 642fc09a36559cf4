// How large a model file may claim to be. A file beyond a limit is refused with
// the limit's value, before anything is allocated.

#ifndef HEADWISE_MODEL_FILES_MODEL_LIMITS_H_
#define HEADWISE_MODEL_FILES_MODEL_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/hyperparameters.h"

namespace headwise {

// Of the shape. Each is several times what the largest published model of our
// architectures has.
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxHeads = 1024;
inline constexpr int64_t kMaxHeadDim = 1024;  // and a multiple of:
inline constexpr int64_t kHeadDimMultiple = 16;
inline constexpr int64_t kMaxModelDim = int64_t{1} << 18;
inline constexpr int64_t kMaxFfnDim = int64_t{1} << 20;
inline constexpr int64_t kMaxVocab = int64_t{1} << 21;
inline constexpr int64_t kMaxContextLen = int64_t{1} << 30;  // tokens
inline constexpr double kMaxRopeBase = 1e15;
inline constexpr double kMaxRopeFactor =
    1e6;  // and at least 1 / kMaxRopeFactor

// Of the file.
inline constexpr uint64_t kMaxGgufKeys = 65536;
inline constexpr uint64_t kMaxGgufTensors = 65536;
inline constexpr uint64_t kMaxGgufAlignment = 1 << 20;          // bytes
inline constexpr uint64_t kMaxNameBytes = 65535;                // keys, tensors
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes
inline constexpr int64_t kMaxSafetensorsShards = 4096;
inline constexpr int64_t kMaxMerges = int64_t{1} << 23;
// Of one token. The longest of published vocabularies, runs of spaces, have
// less than 1 kB.
inline constexpr size_t kMaxTokenBytes = 4096;

// OK if every field is finite, within the limits above, and agrees with the
// others (num_kv_heads divides num_heads, rotary_dim <= head_dim, ...). The
// message names the field, its value and the limit.
absl::Status ValidateHyperparameters(const Hyperparameters& hyper);

// InvalidArgument for a token of more than kMaxTokenBytes.
absl::Status CheckTokenBytes(int64_t id, size_t num_bytes);

// A file's epsilon as float; InvalidArgument outside the limits, also NaN.
absl::StatusOr<float> CheckedNormEpsilon(double epsilon);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_MODEL_LIMITS_H_
