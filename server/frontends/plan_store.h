// The head plans that requests may name.

#ifndef HEADWISE_SERVER_FRONTENDS_PLAN_STORE_H_
#define HEADWISE_SERVER_FRONTENDS_PLAN_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_type.h"
#include "model/hyperparameters.h"

namespace headwise {

// A plan of the served model's shape takes at most 5 MB.
inline constexpr size_t kMaxStoredPlans = 64;
inline constexpr size_t kMinPlanPrefix = 8;  // hexadecimal digits
// The name of every unit full and every head as trained.
inline constexpr char kFullPlan[] = "full";

// Immutable.
struct StoredPlan {
  std::string hash = kFullPlan;          // HeadPlanHash, or kFullPlan
  std::shared_ptr<const HeadPlan> plan;  // null: kFullPlan
  int64_t longest_context_len = 0;       // tokens, whatever the memory
  double kv_share = 1.0;  // of full, at the model's max_context_len
  int64_t num_full_units = 0;
  int64_t num_units = 0;
};

// Thread-safe. Plans that are in use live as long as their users, deleted or
// not. Names are told in plans.proto; errors name the field "plan".
class PlanStore {
 public:
  // Of a model whose KV is of `kv_type` where a plan names no other.
  PlanStore(const Hyperparameters& hyper, KvType kv_type);

  // Requires a plan that fits the model. A plan that is stored stays as it is.
  // ResourceExhausted: kMaxStoredPlans others are.
  absl::StatusOr<StoredPlan> Put(HeadPlan plan);

  // By name; empty: the default. InvalidArgument: no name, or that of several.
  // NotFound: of none.
  absl::StatusOr<StoredPlan> Find(absl::string_view name) const;

  std::vector<StoredPlan> List() const;  // by hash
  StoredPlan Default() const;
  int64_t size() const;

  // FailedPrecondition: it is the default. InvalidArgument: kFullPlan.
  absl::Status Delete(absl::string_view name);

  // Empty or kFullPlan: every unit full. Returns the default until now.
  absl::StatusOr<StoredPlan> SetDefault(absl::string_view name);

  // As Put would store it.
  StoredPlan Describe(HeadPlan plan) const;

 private:
  using Plans = std::map<std::string, StoredPlan>;  // by hash
  absl::StatusOr<Plans::const_iterator> FindLocked(absl::string_view name) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const int64_t max_context_len_;
  const int64_t head_dim_;
  const KvType kv_type_;
  const StoredPlan full_;

  mutable absl::Mutex mutex_;
  Plans plans_ ABSL_GUARDED_BY(mutex_);
  StoredPlan default_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLAN_STORE_H_
