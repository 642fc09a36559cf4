#include "server/frontends/plan_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/kv_forecast.h"
#include "model/head_plan/rotary_reach.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

constexpr size_t kHashDigits = 64;

bool IsHexDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool IsHashPrefix(absl::string_view name) {
  return name.size() >= kMinPlanPrefix && name.size() <= kHashDigits &&
         std::all_of(name.begin(), name.end(), IsHexDigit);
}

StoredPlan FullOf(const Hyperparameters& hyper) {
  StoredPlan full;
  full.longest_context_len = hyper.max_context_len;
  full.num_units = hyper.num_layers * hyper.num_kv_heads;
  full.num_full_units = full.num_units;
  return full;
}

}  // namespace

PlanStore::PlanStore(const Hyperparameters& hyper, KvType kv_type)
    : max_context_len_(hyper.max_context_len),
      head_dim_(hyper.head_dim),
      kv_type_(kv_type),
      full_(FullOf(hyper)),
      default_(full_) {}

StoredPlan PlanStore::Describe(HeadPlan plan) const {
  KvForecastOptions options;
  options.kv_type = kv_type_;
  options.head_dim = head_dim_;
  options.context_len = std::min(max_context_len_, kMaxForecastContext);
  options.prompt_len = options.context_len;
  const KvForecast forecast = ForecastKv(plan, options);
  StoredPlan stored;
  stored.hash = HeadPlanHash(plan);
  stored.longest_context_len = LongestContext(plan, max_context_len_);
  if (forecast.full.held > 0) {
    stored.kv_share = static_cast<double>(forecast.total.held) /
                      static_cast<double>(forecast.full.held);
  }
  stored.num_units = static_cast<int64_t>(plan.units.size());
  stored.num_full_units = std::count_if(
      plan.units.begin(), plan.units.end(),
      [](const UnitPolicy& unit) { return unit.kind == PolicyKind::kFull; });
  stored.plan = std::make_shared<const HeadPlan>(std::move(plan));
  return stored;
}

absl::StatusOr<StoredPlan> PlanStore::Put(HeadPlan plan) {
  StoredPlan stored = Describe(std::move(plan));
  absl::MutexLock lock(&mutex_);
  const auto found = plans_.find(stored.hash);
  if (found != plans_.end()) return found->second;
  if (plans_.size() >= kMaxStoredPlans) {
    return absl::ResourceExhaustedError(
        absl::StrCat("plan: ", plans_.size(), " plans are stored, limit ",
                     kMaxStoredPlans, "; delete one first"));
  }
  plans_.emplace(stored.hash, stored);
  return stored;
}

absl::StatusOr<PlanStore::Plans::const_iterator> PlanStore::FindLocked(
    absl::string_view name) const {
  if (!IsHashPrefix(name)) {
    return InvalidField(
        "plan",
        absl::StrCat("\"", name.substr(0, kHashDigits),
                     "\" is no name of a plan: ", kMinPlanPrefix, " to ",
                     kHashDigits, " hexadecimal digits, lower case, or \"",
                     kFullPlan, "\""));
  }
  const auto found = plans_.lower_bound(std::string(name));
  if (found == plans_.end() || !absl::StartsWith(found->first, name)) {
    return WithFacts(
        absl::NotFoundError(
            absl::StrCat("plan: no plan ", name, " is stored here")),
        {.resource_type = "plan", .resource_name = std::string(name)});
  }
  const auto next = std::next(found);
  if (next != plans_.end() && absl::StartsWith(next->first, name)) {
    return InvalidField("plan", absl::StrCat(name,
                                             " begins the names of several "
                                             "plans; give more digits"));
  }
  return found;
}

absl::StatusOr<StoredPlan> PlanStore::Find(absl::string_view name) const {
  absl::MutexLock lock(&mutex_);
  if (name.empty()) return default_;
  if (name == kFullPlan) return full_;
  HEADWISE_ASSIGN_OR_RETURN(const auto found, FindLocked(name));
  return found->second;
}

std::vector<StoredPlan> PlanStore::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<StoredPlan> plans;
  for (const auto& [hash, plan] : plans_) plans.push_back(plan);
  return plans;
}

StoredPlan PlanStore::Default() const {
  absl::MutexLock lock(&mutex_);
  return default_;
}

int64_t PlanStore::size() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(plans_.size());
}

absl::Status PlanStore::Delete(absl::string_view name) {
  absl::MutexLock lock(&mutex_);
  if (name == kFullPlan) {
    return InvalidField("plan", "\"full\" can't be deleted");
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto found, FindLocked(name));
  if (found->first == default_.hash) {
    return absl::FailedPreconditionError(
        absl::StrCat("plan: ", found->first,
                     " is the default plan; set another default first"));
  }
  plans_.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<StoredPlan> PlanStore::SetDefault(absl::string_view name) {
  absl::MutexLock lock(&mutex_);
  if (name.empty() || name == kFullPlan) {
    return std::exchange(default_, full_);
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto found, FindLocked(name));
  return std::exchange(default_, found->second);
}

}  // namespace headwise
