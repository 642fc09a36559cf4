#include "server/scheduler/fork_check.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

absl::Status CheckUnit(const UnitPolicy& from, const UnitPolicy& to,
                       const ForkTerms& terms) {
  if (ResolveKvType(from.kv_type, terms.kv_type) !=
          ResolveKvType(to.kv_type, terms.kv_type) ||
      !CanTakeOver(from, to)) {
    return absl::InvalidArgumentError("is stored otherwise in the prefix");
  }
  const int64_t length = terms.shared_len;
  const KeptSpans had = KeptOf(from, length, length);
  const KeptSpans needed =
      NeededByFork(to, length, terms.prompt_len,
                   /*continues=*/to == from && terms.prompt_len == length);
  for (int64_t block = 0; block * kRetentionBlock < length; ++block) {
    if (IsBlockKept(had, block) || !IsBlockKept(needed, block)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("has dropped positions from ", block * kRetentionBlock,
                     " on, which the fork needs"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFork(const ForkTerms& terms) {
  const UnitPolicy full;
  const HeadPlan* shape = terms.from != nullptr ? terms.from : terms.to;
  if (shape == nullptr) return absl::OkStatus();
  for (size_t unit = 0; unit < shape->units.size(); ++unit) {
    const UnitPolicy& from =
        terms.from == nullptr ? full : terms.from->units[unit];
    const UnitPolicy& to = terms.to == nullptr ? full : terms.to->units[unit];
    const absl::Status status = CheckUnit(from, to, terms);
    if (status.ok()) continue;
    const auto kv_heads = static_cast<size_t>(shape->num_kv_heads);
    return absl::InvalidArgumentError(
        absl::StrCat("fork_from: layer ", unit / kv_heads, ", kv_head ",
                     unit % kv_heads, " ", status.message()));
  }
  return absl::OkStatus();
}

}  // namespace headwise
