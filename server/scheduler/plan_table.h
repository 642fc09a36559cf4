// Which head plans the workers of a group know, and by which number.

#ifndef HEADWISE_SERVER_SCHEDULER_PLAN_TABLE_H_
#define HEADWISE_SERVER_SCHEDULER_PLAN_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/step/step.h"

namespace headwise {

// Plans of equal content have one number; numbers are never used again. A plan
// travels with the first step that needs it. At most kMaxPlans are kept: a new
// one takes the place of the one that has had no user for longest. O(kMaxPlans)
// and, for a plan that is no pointer of ours, one hash of it.
class PlanTable {
 public:
  // A number for a sequence that will run under `plan`; 0 for null, the default
  // plan. nullopt if kMaxPlans others have users.
  std::optional<uint64_t> Acquire(std::shared_ptr<const HeadPlan> plan);
  // The sequence has ended. No effect for 0.
  void Release(uint64_t plan_id);

  // What workers must hear before a slice under this plan runs; nothing if an
  // earlier step has told them.
  void AddTo(Step& step, uint64_t plan_id);
  // And which plans they may forget.
  void AddDropsTo(Step& step);

  // Workers may or may not have taken the step's plans: they are told again,
  // which does no harm.
  void OnStepFailed(const std::vector<uint64_t>& plan_ids,
                    const std::vector<uint64_t>& drop_plan_ids);

  int64_t num_plans() const { return static_cast<int64_t>(plans_.size()); }

 private:
  struct Entry {
    std::shared_ptr<const HeadPlan> plan;
    std::string hash;
    int64_t num_users = 0;
    uint64_t last_use = 0;
    bool is_sent = false;   // and nothing is known of a failure
    bool was_sent = false;  // workers may have it
  };

  // The plan's entry, if it has one.
  std::map<uint64_t, Entry>::iterator Find(const HeadPlan* plan,
                                           std::string* hash);
  bool MakeRoom();

  std::map<uint64_t, Entry> plans_;  // by number
  std::vector<uint64_t> drops_;      // not sent yet
  uint64_t last_plan_id_ = 0;
  uint64_t num_uses_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_PLAN_TABLE_H_
