#include "server/scheduler/plan_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "model/head_plan/head_plan_hash.h"

namespace headwise {

std::map<uint64_t, PlanTable::Entry>::iterator PlanTable::Find(
    const HeadPlan* plan, std::string* hash) {
  auto found = std::find_if(
      plans_.begin(), plans_.end(),
      [plan](const auto& entry) { return entry.second.plan.get() == plan; });
  if (found != plans_.end()) return found;
  *hash = HeadPlanHash(*plan);
  return std::find_if(plans_.begin(), plans_.end(), [hash](const auto& entry) {
    return entry.second.hash == *hash;
  });
}

std::optional<uint64_t> PlanTable::Acquire(
    std::shared_ptr<const HeadPlan> plan) {
  if (plan == nullptr) return 0;
  std::string hash;
  auto found = Find(plan.get(), &hash);
  if (found == plans_.end()) {
    if (!MakeRoom()) return std::nullopt;
    found = plans_
                .emplace(++last_plan_id_, Entry{.plan = std::move(plan),
                                                .hash = std::move(hash)})
                .first;
  }
  ++found->second.num_users;
  return found->first;
}

bool PlanTable::MakeRoom() {
  if (plans_.size() < static_cast<size_t>(kMaxPlans)) return true;
  auto oldest = plans_.end();
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if (it->second.num_users > 0) continue;
    if (oldest == plans_.end() ||
        it->second.last_use < oldest->second.last_use) {
      oldest = it;
    }
  }
  if (oldest == plans_.end()) return false;
  if (oldest->second.was_sent) drops_.push_back(oldest->first);
  plans_.erase(oldest);
  return true;
}

void PlanTable::Release(uint64_t plan_id) {
  if (plan_id == 0) return;
  Entry& entry = plans_.at(plan_id);
  HEADWISE_CHECK(entry.num_users > 0);
  --entry.num_users;
  entry.last_use = ++num_uses_;
}

void PlanTable::AddTo(Step& step, uint64_t plan_id) {
  if (plan_id == 0) return;
  Entry& entry = plans_.at(plan_id);
  if (entry.is_sent) return;
  entry.is_sent = entry.was_sent = true;
  step.plans.push_back({plan_id, entry.plan});
}

void PlanTable::AddDropsTo(Step& step) {
  const auto count = static_cast<int64_t>(
      std::min(drops_.size(), static_cast<size_t>(kMaxPlans)));
  step.drop_plan_ids.assign(drops_.begin(), drops_.begin() + count);
  drops_.erase(drops_.begin(), drops_.begin() + count);
}

void PlanTable::OnStepFailed(const std::vector<uint64_t>& plan_ids,
                             const std::vector<uint64_t>& drop_plan_ids) {
  for (const uint64_t id : plan_ids) {
    const auto found = plans_.find(id);
    if (found != plans_.end()) {
      found->second.is_sent = false;
    } else {
      drops_.push_back(id);
    }
  }
  drops_.insert(drops_.end(), drop_plan_ids.begin(), drop_plan_ids.end());
}

}  // namespace headwise
