#include "client/cli/plan_picture.h"

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

constexpr char kPolicyLetters[] = "FSRLQOM";
static_assert(sizeof(kPolicyLetters) == kPolicyNames.size() + 1);

// A plan by hand may have a policy for each unit; nobody reads a legend of 90.
constexpr size_t kMaxLegendLines = 20;

// '.' as trained; '*' if more than one thing is said of the head.
char HeadLetter(const QueryHeadPlan& head) {
  std::string letters;
  if (head.mask == HeadMask::kUniform) letters += 'U';
  if (head.mask == HeadMask::kZero) letters += 'Z';
  if (head.output_scale != 1) letters += 'S';
  if (head.sink_beta != 1) letters += 'A';
  if (letters.empty()) return '.';
  return letters.size() == 1 ? letters[0] : '*';
}

void AppendUnits(const HeadPlan& plan, const PictureOptions& options,
                 std::string* out) {
  AppendGrid({.num_layers = plan.num_layers,
              .num_rows = plan.num_kv_heads,
              .row_label = "kv head",
              .cell =
                  [&](int64_t layer, int64_t kv_head) {
                    const PolicyKind kind = plan.unit(layer, kv_head).kind;
                    return GridCell{PolicyLetter(kind), PolicyColor(kind)};
                  }},
             options, out);
  absl::StrAppend(out, "\n");
  const std::vector<PolicyCount> counts = CountPolicies(plan);
  for (size_t i = 0; i < std::min(counts.size(), kMaxLegendLines); ++i) {
    const PolicyKind kind = counts[i].policy.kind;
    absl::StrAppendFormat(out, "%s %d of %d units: %s\n",
                          Paint(absl::StrFormat(" %c ", PolicyLetter(kind)),
                                PolicyColor(kind), options.color),
                          counts[i].num_units, plan.units.size(),
                          counts[i].description);
  }
  if (counts.size() > kMaxLegendLines) {
    absl::StrAppend(out, " ... and ", counts.size() - kMaxLegendLines,
                    " more policies\n");
  }
}

void AppendHeads(const HeadPlan& plan, const PictureOptions& options,
                 std::string* out) {
  AppendGrid(
      {.num_layers = plan.num_layers,
       .num_rows = plan.num_heads,
       .row_label = "head",
       .cell =
           [&](int64_t layer, int64_t head) {
             const char letter = HeadLetter(plan.head(layer, head));
             return GridCell{letter, letter == '.' ? -1 : DistinctColor(0)};
           }},
      options, out);
  absl::StrAppend(out,
                  "\n U uniform mask, Z zero mask, S output scaled, A sinks "
                  "calibrated, * several\n");
}

}  // namespace

char PolicyLetter(PolicyKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < kPolicyNames.size() ? kPolicyLetters[index] : '?';
}

int PolicyColor(PolicyKind kind) {
  return DistinctColor(static_cast<int64_t>(kind));
}

std::string DescribeHead(const QueryHeadPlan& head) {
  std::vector<std::string> parts;
  if (head.mask != HeadMask::kNone) {
    parts.push_back(absl::StrCat(NameOf(head.mask), " mask"));
  }
  if (head.output_scale != 1) {
    parts.push_back(absl::StrCat("scale ", head.output_scale));
  }
  if (head.sink_beta != 1) {
    parts.push_back(absl::StrCat("sinks above ", head.sink_threshold, " keep ",
                                 head.sink_beta));
  }
  return parts.empty() ? "as trained" : absl::StrJoin(parts, ", ");
}

std::vector<PolicyCount> CountPolicies(const HeadPlan& plan) {
  std::vector<PolicyCount> counts;
  std::map<std::string, size_t> index_of;
  for (const UnitPolicy& unit : plan.units) {
    const std::string description = DescribePolicy(unit);
    const auto [it, is_new] = index_of.emplace(description, counts.size());
    if (is_new) counts.push_back({description, unit, 0});
    ++counts[it->second].num_units;
  }
  std::stable_sort(counts.begin(), counts.end(),
                   [](const PolicyCount& a, const PolicyCount& b) {
                     return a.num_units > b.num_units;
                   });
  return counts;
}

std::string RenderPlan(const HeadPlan& plan, const PictureOptions& options) {
  std::string out = absl::StrCat(
      "for model ", plan.model_sha256, "\nhash      ", HeadPlanHash(plan), "\n",
      plan.num_layers, " layers, ", plan.num_heads, " heads in ",
      plan.num_kv_heads, " KV heads\n");
  if (!plan.origin.empty()) {
    absl::StrAppend(&out, "origin: ", absl::Utf8SafeCHexEscape(plan.origin),
                    "\n");
  }
  if (plan.landmark_token != -1) {
    absl::StrAppend(&out, "landmarks are token ", plan.landmark_token, "\n");
  }
  AppendUnits(plan, options, &out);
  const bool is_as_trained = std::all_of(
      plan.heads.begin(), plan.heads.end(),
      [](const QueryHeadPlan& head) { return head == QueryHeadPlan{}; });
  if (!is_as_trained) AppendHeads(plan, options, &out);
  return out;
}

std::string RenderDiff(const HeadPlan& before, const HeadPlanDiff& diff) {
  std::string out;
  if (diff.is_other_model) out = "the plans are for different models\n";
  if (diff.landmark_token != before.landmark_token) {
    absl::StrAppend(&out, "landmark token: ", before.landmark_token, " -> ",
                    diff.landmark_token, "\n");
  }
  for (const UnitChange& change : diff.units) {
    absl::StrAppend(&out, "layer ", change.layer, " kv_head ", change.kv_head,
                    ": ", DescribePolicy(change.before), " -> ",
                    DescribePolicy(change.after), "\n");
  }
  for (const QueryHeadChange& change : diff.heads) {
    absl::StrAppend(&out, "layer ", change.layer, " head ", change.head, ": ",
                    DescribeHead(change.before), " -> ",
                    DescribeHead(change.after), "\n");
  }
  absl::StrAppend(&out, diff.units.size(), " of ", before.units.size(),
                  " units and ", diff.heads.size(), " of ", before.heads.size(),
                  " heads differ\n");
  return out;
}

}  // namespace headwise
