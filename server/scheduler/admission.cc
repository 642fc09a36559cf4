#include "server/scheduler/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "model/head_plan/landmarks.h"
#include "model/head_plan/rotary_reach.h"
#include "server/scheduler/fork_check.h"

namespace headwise {
namespace {

int64_t SaturatingSum(int64_t a, int64_t b) {
  int64_t sum;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return std::numeric_limits<int64_t>::max();
}

absl::Status CheckWork(const EngineRequest& request) {
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError(
        "the prompt has 0 tokens, at least 1 is needed");
  }
  if (request.kind == WorkKind::kGenerate && request.max_new_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", request.max_new_tokens, ", must be 1 or more"));
  }
  const int64_t num_received = static_cast<int64_t>(request.received.size());
  if (num_received > 0 && (request.kind != WorkKind::kGenerate ||
                           num_received >= request.max_new_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat(
        num_received, " tokens are received already; must be fewer than the ",
        request.kind == WorkKind::kGenerate ? request.max_new_tokens : 0,
        " that are to be generated"));
  }
  if (request.contrast_plan != nullptr &&
      (request.kind != WorkKind::kScore || request.fork_from != 0 ||
       request.hash_logits)) {
    return absl::InvalidArgumentError(
        "contrast_plan is for scores of whole prompts, without hash_logits");
  }
  if (request.is_background && request.kind == WorkKind::kPrefix) {
    return absl::InvalidArgumentError("is_background is not for prefixes");
  }
  return absl::OkStatus();
}

// Workers refuse a whole step for one such request.
absl::Status CheckPlan(const HeadPlan& plan, const KvGeometry& kv) {
  if (kv.default_unit != UnitPolicy()) {
    return absl::UnimplementedError(
        "head plans of titans models: their attention has its own window");
  }
  if (plan.num_layers == kv.num_layers && plan.num_heads == kv.num_heads() &&
      plan.num_kv_heads == kv.num_kv_heads &&
      static_cast<int64_t>(plan.units.size()) ==
          kv.num_layers * kv.num_kv_heads &&
      static_cast<int64_t>(plan.heads.size()) ==
          kv.num_layers * kv.num_heads()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the plan is for ", plan.num_layers, " layers of ", plan.num_heads,
      " heads and ", plan.num_kv_heads, " KV heads, the model has ",
      kv.num_layers, ", ", kv.num_heads(), " and ", kv.num_kv_heads));
}

absl::Status CheckCalibration(const HeadPlan& plan) {
  const int64_t group = plan.num_heads / plan.num_kv_heads;
  for (size_t head = 0; head < plan.heads.size(); ++head) {
    const size_t unit = head / static_cast<size_t>(group);
    if (plan.heads[head].sink_beta == 1.0f ||
        plan.units[unit].kind == PolicyKind::kFull) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("the plan's heads[", head,
                     "] sink_beta: only a head of a full unit can be "
                     "calibrated"));
  }
  return absl::OkStatus();
}

absl::Status CheckProbe(const ProbeRequest& probe, const HeadPlan* plan,
                        const UnitPolicy& default_unit) {
  if (probe.empty()) return absl::OkStatus();
  if (probe.distance_sets.size() > static_cast<size_t>(kMaxDistanceSets)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the probe has ", probe.distance_sets.size(),
                     " distance sets, limit ", kMaxDistanceSets));
  }
  for (const std::vector<int64_t>& set : probe.distance_sets) {
    const bool negative =
        std::any_of(set.begin(), set.end(), [](int64_t d) { return d < 0; });
    if (!negative && set.size() <= static_cast<size_t>(kMaxDistancesPerSet)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "a distance set of the probe has ", set.size(), " distances, limit ",
        kMaxDistancesPerSet, ", each 0 or more"));
  }
  const auto sees_less = [](const UnitPolicy& unit) {
    return unit.kind != PolicyKind::kFull;
  };
  if (plan == nullptr && sees_less(default_unit)) {
    return absl::UnimplementedError(
        "probes of titans models: their attention has a window");
  }
  if (plan == nullptr ||
      std::none_of(plan->units.begin(), plan->units.end(), sees_less)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "a probe reads units that see everything; the plan has others");
}

// The rank whose caches are the scarcest, as far as this request goes.
size_t ScarcestRank(const std::vector<int64_t>& needed,
                    const std::vector<int64_t>& available) {
  size_t scarcest = 0;
  double worst = -1.0;
  for (size_t rank = 0; rank < needed.size(); ++rank) {
    const double share = static_cast<double>(needed[rank]) /
                         (static_cast<double>(available[rank]) + 1.0);
    if (share <= worst) continue;
    worst = share;
    scarcest = rank;
  }
  return scarcest;
}

// Under the plan, whatever the caches hold.
int64_t MaxContext(const HeadPlan* plan, const AdmissionTerms& terms) {
  return plan == nullptr ? terms.max_context_len
                         : LongestContext(*plan, terms.max_context_len);
}

absl::Status CheckRoom(const EngineRequest& request,
                       const AdmissionTerms& terms, KvExtent extent,
                       const std::vector<int64_t>& needed) {
  const int64_t max_context_len = MaxContext(request.plan.get(), terms);
  std::vector<int64_t> available = terms.needs.capacity().rank_bytes;
  bool fits = extent.length <= max_context_len;
  for (size_t rank = 0; rank < available.size(); ++rank) {
    if (terms.prefix != nullptr) available[rank] -= terms.prefix_bytes[rank];
    fits = fits && needed[rank] <= available[rank];
  }
  if (fits) return absl::OkStatus();
  const size_t rank = ScarcestRank(needed, available);
  const bool generates = request.kind == WorkKind::kGenerate;
  const std::string prefix =
      terms.prefix == nullptr
          ? ""
          : absl::StrCat("prefix ", terms.prefix->length, " + ");
  const int64_t longest = LongestThatFits(request.plan.get(), terms);
  absl::Status refusal = absl::OutOfRangeError(absl::StrCat(
      "the request needs a context of ", extent.length, " tokens (", prefix,
      "prompt ", request.prompt.size(), " + max_new_tokens ",
      generates ? request.max_new_tokens : 0, "), ", needed[rank],
      " bytes of KV on rank ", rank, "; available are ", available[rank],
      " bytes and a context of ", max_context_len,
      " tokens; the longest context that fits is ", longest, " tokens"));
  return WithFacts(
      std::move(refusal),
      {.reason = extent.length > max_context_len ? "CONTEXT_TOO_LONG"
                                                 : "KV_TOO_SMALL",
       .numbers = {{"needed_bytes", needed[rank]},
                   {"available_bytes", available[rank]},
                   {"rank", static_cast<int64_t>(rank)},
                   {"context_tokens", extent.length},
                   {"longest_context", longest}}});
}

}  // namespace

absl::StatusOr<KvRoom> FindRoom(const SizeQuestion& question,
                                const AdmissionTerms& terms) {
  const HeadPlan* plan = question.plan.get();
  if (plan != nullptr) {
    HEADWISE_RETURN_IF_ERROR(CheckPlan(*plan, terms.needs.geometry()));
    HEADWISE_RETURN_IF_ERROR(CheckCalibration(*plan));
  }
  KvRoom room;
  room.length = SaturatingSum(question.prompt_tokens, question.max_new_tokens);
  room.needed_bytes = terms.needs.Reserved(
      plan, {.length = room.length, .prompt_len = question.prompt_tokens});
  const std::vector<int64_t>& available = terms.needs.capacity().rank_bytes;
  room.fits = room.length <= MaxContext(plan, terms);
  for (size_t rank = 0; rank < available.size(); ++rank) {
    room.fits = room.fits && room.needed_bytes[rank] <= available[rank];
  }
  room.rank = ScarcestRank(room.needed_bytes, available);
  return room;
}

int64_t LongestThatFits(const HeadPlan* plan, const AdmissionTerms& terms) {
  return std::min(MaxContext(plan, terms), terms.needs.LongestContext(plan));
}

int64_t NeededTokens(const EngineRequest& request) {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  if (request.kind != WorkKind::kGenerate) return prompt;
  return SaturatingSum(prompt, request.max_new_tokens);
}

absl::StatusOr<std::vector<int64_t>> Admit(const EngineRequest& request,
                                           const AdmissionTerms& terms) {
  const HeadPlan* plan = request.plan.get();
  HEADWISE_RETURN_IF_ERROR(CheckWork(request));
  if (plan != nullptr) {
    HEADWISE_RETURN_IF_ERROR(CheckPlan(*plan, terms.needs.geometry()));
    HEADWISE_RETURN_IF_ERROR(CheckCalibration(*plan));
  }
  const HeadPlan* contrast = request.contrast_plan.get();
  if (contrast != nullptr) {
    HEADWISE_RETURN_IF_ERROR(CheckPlan(*contrast, terms.needs.geometry()));
    HEADWISE_RETURN_IF_ERROR(CheckCalibration(*contrast));
    HEADWISE_RETURN_IF_ERROR(CheckLandmarks(*contrast, 0, request.prompt, 0));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckProbe(request.probe, plan, terms.needs.geometry().default_unit));
  const int64_t shared_len = terms.prefix == nullptr ? 0 : terms.prefix->length;
  const KvExtent extent = {
      .length = SaturatingSum(shared_len, NeededTokens(request)),
      .prompt_len = shared_len + static_cast<int64_t>(request.prompt.size())};
  if (plan != nullptr) {
    HEADWISE_RETURN_IF_ERROR(CheckLandmarks(*plan, shared_len, request.prompt,
                                            extent.length - extent.prompt_len));
  }
  std::vector<int64_t> needed;
  if (terms.prefix == nullptr) {
    needed = terms.needs.Reserved(plan, extent);
    if (contrast != nullptr) {
      // Its blocks below the first layer that differs are never written.
      const std::vector<int64_t> more = terms.needs.Reserved(contrast, extent);
      for (size_t rank = 0; rank < needed.size(); ++rank) {
        needed[rank] += more[rank];
      }
    }
  } else {
    const HeadPlan* from = terms.prefix->plan.get();
    HEADWISE_RETURN_IF_ERROR(
        CheckFork({.from = from,
                   .to = plan,
                   .shared_len = shared_len,
                   .prompt_len = extent.prompt_len,
                   .kv_type = terms.needs.geometry().kv_type}));
    needed = terms.needs.ReservedByFork(from, plan, shared_len, extent);
  }
  HEADWISE_RETURN_IF_ERROR(CheckRoom(request, terms, extent, needed));
  return needed;
}

}  // namespace headwise
