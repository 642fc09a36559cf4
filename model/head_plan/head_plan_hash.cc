#include "model/head_plan/head_plan_hash.h"

#include <bit>
#include <initializer_list>

#include "absl/strings/string_view.h"
#include "base/sha256.h"

namespace headwise {
namespace {

void AddText(absl::string_view text, Sha256* hash) {
  hash->Update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void AddIntegers(std::initializer_list<int64_t> values, Sha256* hash) {
  for (const int64_t value : values) {
    std::array<uint8_t, 8> bytes;
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
    }
    hash->Update(bytes);
  }
}

int64_t BitsOf(float value) { return std::bit_cast<uint32_t>(value); }

}  // namespace

std::string HeadPlanHash(const HeadPlan& plan) {
  Sha256 hash;
  AddText("headwise head plan 1\n", &hash);
  AddText(plan.model_sha256, &hash);
  AddIntegers({plan.num_layers, plan.num_heads, plan.num_kv_heads}, &hash);
  for (const UnitPolicy& unit : plan.units) {
    AddIntegers(
        {static_cast<int64_t>(unit.kind), static_cast<int64_t>(unit.kv_type),
         unit.num_sinks, unit.window, unit.slot_positions, unit.count_weight,
         unit.full_prompt, unit.window_divisor, unit.chunk_len, unit.num_chunks,
         unit.per_query_head},
        &hash);
  }
  for (const QueryHeadPlan& head : plan.heads) {
    AddIntegers({static_cast<int64_t>(head.mask), BitsOf(head.output_scale),
                 BitsOf(head.sink_beta), BitsOf(head.sink_threshold)},
                &hash);
  }
  if (plan.landmark_token != -1) AddIntegers({plan.landmark_token}, &hash);
  return Sha256Hex(hash.Finish());
}

}  // namespace headwise
