#include "worker/sessions/block_bytes.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/sessions/float_bytes.h"

namespace headwise {
namespace {

constexpr int64_t kSlots = KvLayout::kPositions;

// Finite numbers from `begin` on?
bool AreFinite(FloatType type, const uint8_t* begin, int64_t n) {
  return FirstNotBelow(type, begin, n, INFINITY) == n;
}

bool IsFinite(const KvLayout& layout, const uint8_t* block) {
  const int64_t n = 2 * kSlots * layout.head_dim;
  switch (layout.element) {
    case KvElement::kFp32:
      return AreFinite(FloatType::kFp32, block, n);
    case KvElement::kFp16:
      return AreFinite(FloatType::kFp16, block, n);
    case KvElement::kBf16:
      return AreFinite(FloatType::kBf16, block, n);
    case KvElement::kInt8:
      return AreFinite(FloatType::kFp32, block + layout.scales_offset(),
                       2 * kSlots);
  }
  return false;
}

}  // namespace

void ClearSlots(const Kernels& kernels, const KvLayout& layout,
                int64_t first_slot, char* block) {
  const std::vector<float> zeros(static_cast<size_t>(layout.head_dim));
  for (int64_t slot = first_slot; slot < kSlots; ++slot) {
    kernels.append({layout, reinterpret_cast<uint8_t*>(block), slot,
                    zeros.data(), zeros.data()});
  }
}

absl::Status CheckBlocks(const KvLayout& layout, const BlockRun& run,
                         const std::string& bytes) {
  const auto* block = reinterpret_cast<const uint8_t*>(bytes.data());
  for (int64_t i = 0; i < run.num_blocks; ++i) {
    if (!IsFinite(layout, block + i * layout.block_bytes())) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", run.first_block + i, " of kv_head ",
                       run.kv_head, " has a number that is not finite"));
    }
  }
  return absl::OkStatus();
}

}  // namespace headwise
