#include "model/head_plan/kv_type.h"

#include "absl/strings/str_cat.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

absl::StatusOr<KvType> ParseKvType(const std::string& text) {
  for (const KvType type :
       {KvType::kFp32, KvType::kFp16, KvType::kBf16, KvType::kInt8}) {
    if (text == KvTypeName(type)) return type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("kv_type '", text, "': expected fp32, fp16, bf16 or int8"));
}

const char* KvTypeName(KvType type) {
  switch (type) {
    case KvType::kFp32:
      return "fp32";
    case KvType::kFp16:
      return "fp16";
    case KvType::kBf16:
      return "bf16";
    case KvType::kInt8:
      return "int8";
  }
  return "unknown";
}

KvType ResolveKvType(PlanKvType type, KvType by_default) {
  switch (type) {
    case PlanKvType::kFp32:
      return KvType::kFp32;
    case PlanKvType::kFp16:
      return KvType::kFp16;
    case PlanKvType::kBf16:
      return KvType::kBf16;
    case PlanKvType::kInt8:
      return KvType::kInt8;
    case PlanKvType::kDefault:
      break;
  }
  return by_default;
}

int64_t KvBytesPerPosition(KvType type, int64_t head_dim) {
  switch (type) {
    case KvType::kFp32:
      return 2 * head_dim * 4;
    case KvType::kFp16:
    case KvType::kBf16:
      return 2 * head_dim * 2;
    case KvType::kInt8:
      break;
  }
  return 2 * (head_dim + 4);
}

}  // namespace headwise
