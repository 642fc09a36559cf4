#include "server/frontends/masked_plan.h"

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/policy_names.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

absl::Status Refuse(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the plan ", what,
                   "; a masked plan has every unit full and every head as "
                   "trained or with one and the same mask"));
}

std::string HeadName(int64_t layer, int64_t head) {
  return absl::StrCat(layer, ".", head);
}

absl::StatusOr<HeadPlan> ReadInline(const v1::HeadPlan& message,
                                    const FrontendContext& frontend,
                                    const std::string& model_sha256) {
  if (message.ByteSizeLong() > kMaxHeadPlanBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", message.ByteSizeLong(), " bytes; at most ",
                     kMaxHeadPlanBytes, " are allowed"));
  }
  HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlan(message));
  HEADWISE_RETURN_IF_ERROR(CheckPlanFits(
      plan, frontend.model.model->hyperparameters(), model_sha256));
  return plan;
}

}  // namespace

absl::StatusOr<MaskedHeads> MaskedHeadsOf(const HeadPlan& plan) {
  for (size_t i = 0; i < plan.units.size(); ++i) {
    if (plan.units[i] == UnitPolicy()) continue;
    const int64_t unit = static_cast<int64_t>(i);
    return Refuse(absl::StrCat(
        "has unit ",
        HeadName(unit / plan.num_kv_heads, unit % plan.num_kv_heads), " with ",
        DescribePolicy(plan.units[i])));
  }
  MaskedHeads masked;
  HeadMask mask = HeadMask::kNone;
  for (int64_t layer = 0; layer < plan.num_layers; ++layer) {
    for (int64_t head = 0; head < plan.num_heads; ++head) {
      const QueryHeadPlan& entry = plan.head(layer, head);
      if (entry == QueryHeadPlan()) continue;
      const std::string name = HeadName(layer, head);
      if (!(entry == QueryHeadPlan{.mask = entry.mask})) {
        return Refuse(absl::StrCat("scales or calibrates head ", name));
      }
      if (mask != HeadMask::kNone && entry.mask != mask) {
        return Refuse(absl::StrCat("masks head ", name, " by ",
                                   NameOf(entry.mask), " and others by ",
                                   NameOf(mask)));
      }
      mask = entry.mask;
      masked.heads.push_back(name);
    }
  }
  if (masked.heads.empty()) return Refuse("masks no head");
  masked.mask = NameOf(mask);
  return masked;
}

absl::StatusOr<HeadPlan> PlanOfMaskedHeads(const MaskedHeads& masked,
                                           const Hyperparameters& hyper,
                                           const std::string& model_sha256) {
  const std::optional<HeadMask> mask = HeadMaskNamed(masked.mask);
  if (!mask.has_value() || *mask == HeadMask::kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat("mask: \"", masked.mask, "\" is not uniform or zero"));
  }
  HeadPlan plan = DefaultHeadPlan(hyper, model_sha256);
  for (const std::string& name : masked.heads) {
    const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
    int64_t layer = 0;
    int64_t head = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &layer) ||
        !absl::SimpleAtoi(parts[1], &head) || layer < 0 || head < 0 ||
        layer >= plan.num_layers || head >= plan.num_heads) {
      return absl::InvalidArgumentError(absl::StrCat(
          "masked_heads: \"", name, "\" is no head of a model with ",
          plan.num_layers, " layers of ", plan.num_heads, " heads"));
    }
    plan.heads[static_cast<size_t>(layer * plan.num_heads + head)].mask = *mask;
  }
  return plan;
}

absl::StatusOr<std::shared_ptr<const HeadPlan>> ReadMaskedPlan(
    absl::string_view field, const v1::MaskedPlan& message,
    const FrontendContext& frontend, const std::string& model_sha256) {
  std::shared_ptr<const HeadPlan> plan;
  if (message.has_inline_plan()) {
    absl::StatusOr<HeadPlan> read =
        ReadInline(message.inline_plan(), frontend, model_sha256);
    if (!read.ok()) {
      return InvalidField(absl::StrCat(field, ".inline_plan"),
                          read.status().message());
    }
    plan = std::make_shared<const HeadPlan>(*std::move(read));
  } else if (!message.stored().empty()) {
    HEADWISE_ASSIGN_OR_RETURN(const StoredPlan stored,
                              frontend.plans.Find(message.stored()));
    plan = stored.plan;
  } else {
    return InvalidField(field,
                        "names no plan: `headwise select detect` finds the "
                        "retrieval heads of a model and writes one");
  }
  if (plan == nullptr) {
    return InvalidField(absl::StrCat(field, ".stored"),
                        "is \"full\", which masks no head");
  }
  const absl::Status masks = MaskedHeadsOf(*plan).status();
  if (!masks.ok()) return InvalidField(field, masks.message());
  return plan;
}

}  // namespace headwise
