#include "model/files/gguf_tensor_types.h"

#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {

namespace {

struct GgmlType {
  const char* name;
  std::optional<DType> dtype;
};

// Indexed by GGML's number (enum ggml_type of ggml.h). Numbers that GGML has
// withdrawn are unnamed.
constexpr std::array<GgmlType, 40> kGgmlTypes = {{
    {"F32", DType::kF32},
    {"F16", DType::kF16},
    {"Q4_0", DType::kQ4_0},
    {"Q4_1", DType::kQ4_1},
    {"Q4_2", {}},
    {"Q4_3", {}},
    {"Q5_0", DType::kQ5_0},
    {"Q5_1", DType::kQ5_1},
    {"Q8_0", DType::kQ8_0},
    {"Q8_1", {}},
    {"Q2_K", {}},
    {"Q3_K", {}},
    {"Q4_K", DType::kQ4_K},
    {"Q5_K", DType::kQ5_K},
    {"Q6_K", DType::kQ6_K},
    {"Q8_K", {}},
    {"IQ2_XXS", {}},
    {"IQ2_XS", {}},
    {"IQ3_XXS", {}},
    {"IQ1_S", {}},
    {"IQ4_NL", {}},
    {"IQ3_S", {}},
    {"IQ2_S", {}},
    {"IQ4_XS", {}},
    {"I8", {}},
    {"I16", {}},
    {"I32", {}},
    {"I64", {}},
    {"F64", {}},
    {"IQ1_M", {}},
    {"BF16", DType::kBF16},
    {"withdrawn", {}},
    {"withdrawn", {}},
    {"withdrawn", {}},
    {"TQ1_0", {}},
    {"TQ2_0", {}},
    {"withdrawn", {}},
    {"withdrawn", {}},
    {"withdrawn", {}},
    {"MXFP4", {}},
}};

}  // namespace

absl::StatusOr<DType> DTypeOfGgmlType(uint32_t type) {
  if (type < kGgmlTypes.size() && kGgmlTypes[type].dtype) {
    return *kGgmlTypes[type].dtype;
  }
  const char* name =
      type < kGgmlTypes.size() ? kGgmlTypes[type].name : "unknown";
  return absl::UnimplementedError(absl::StrCat(
      "quantization ", name, " (GGML type ", type,
      "); we read F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K"));
}

uint32_t GgmlTypeOf(DType dtype) {
  for (uint32_t type = 0; type < kGgmlTypes.size(); ++type) {
    if (kGgmlTypes[type].dtype == dtype) return type;
  }
  HEADWISE_CHECK(false && "a DType outside its enumerators");
}

}  // namespace headwise
