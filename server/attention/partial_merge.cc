#include "server/attention/partial_merge.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/attention/unit_shares.h"
#include "worker/sessions/probe_rows.h"

namespace headwise {

absl::Status CheckParts(const UnitShare& share, int64_t visible_end,
                        int64_t num_rows, int64_t head_dim,
                        const UnitPartials& partials) {
  std::vector<int32_t> ranges;
  bool has_sizes = partials.kv_head == share.kv_head;
  for (const RangePartial& part : partials.parts) {
    ranges.push_back(part.first_range);
    has_sizes &= static_cast<int64_t>(part.lse.size()) == num_rows &&
                 static_cast<int64_t>(part.out.size()) == num_rows * head_dim;
  }
  const std::vector<int32_t> expected = ExpectedParts(share, visible_end);
  if (has_sizes && ranges == expected) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "answered ranges ", absl::StrJoin(ranges, " "), " of kv_head ",
      partials.kv_head, has_sizes ? "" : " in other sizes", "; expected ",
      absl::StrJoin(expected, " "), " of kv_head ", share.kv_head));
}

void MergeParts(std::vector<const RangePartial*> parts, const Kernels& kernels,
                int64_t head_dim, int64_t num_rows, float* out, float* lse) {
  std::sort(parts.begin(), parts.end(),
            [](const RangePartial* a, const RangePartial* b) {
              return a->first_range < b->first_range;
            });
  size_t next = 0;
  if (!parts.empty() && parts[0]->first_range == 0) {
    // Was merged into nothing by its worker.
    std::copy(parts[0]->out.begin(), parts[0]->out.end(), out);
    std::copy(parts[0]->lse.begin(), parts[0]->lse.end(), lse);
    next = 1;
  } else {
    std::fill_n(out, num_rows * head_dim, 0.0f);
    std::fill_n(lse, num_rows, -INFINITY);
  }
  for (; next < parts.size(); ++next) {
    kernels.merge({out, lse, parts[next]->out.data(), parts[next]->lse.data(),
                   num_rows, head_dim});
  }
}

absl::Status AddProbe(const UnitProbe& from, int64_t num_top_keys,
                      UnitProbe& to) {
  if (from.kv_head != to.kv_head || from.top.size() != to.top.size() ||
      from.mass.size() != to.mass.size() ||
      from.entropy.size() != to.entropy.size()) {
    return absl::InternalError(
        absl::StrCat("answered a probe of kv_head ", from.kv_head,
                     " in other sizes than those of kv_head ", to.kv_head));
  }
  for (size_t i = 0; i < from.top.size(); ++i) {
    if (from.top[i].position < 0) continue;
    AddTopKey(from.top[i], num_top_keys,
              to.top.data() + i / num_top_keys * num_top_keys);
  }
  for (size_t i = 0; i < from.mass.size(); ++i) to.mass[i] += from.mass[i];
  for (size_t i = 0; i < from.entropy.size(); ++i) {
    to.entropy[i] += from.entropy[i];
  }
  return absl::OkStatus();
}

}  // namespace headwise
