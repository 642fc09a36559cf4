// How keys and values are stored.

#ifndef HEADWISE_MODEL_HEAD_PLAN_KV_TYPE_H_
#define HEADWISE_MODEL_HEAD_PLAN_KV_TYPE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace headwise {

enum class PlanKvType : uint8_t;  // head_plan.h

enum class KvType : uint8_t { kFp32, kFp16, kBf16, kInt8 };

// "fp32", "fp16", "bf16", "int8"; InvalidArgument for any other text.
absl::StatusOr<KvType> ParseKvType(const std::string& text);
const char* KvTypeName(KvType type);

// What a unit's own type means on a server whose type is `by_default`.
KvType ResolveKvType(PlanKvType type, KvType by_default);

// KV bytes of one unit per position: a key and a value, and of int8 an fp32
// scale for each.
int64_t KvBytesPerPosition(KvType type, int64_t head_dim);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_KV_TYPE_H_
