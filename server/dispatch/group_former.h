// Brings workers together to a group: plan, prepare, join.

#ifndef HEADWISE_SERVER_DISPATCH_GROUP_FORMER_H_
#define HEADWISE_SERVER_DISPATCH_GROUP_FORMER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/dispatch/held_shards.h"
#include "server/dispatch/worker_link.h"
#include "server/membership/membership.h"
#include "server/placement/planner.h"
#include "server/scheduler/kv_needs.h"

namespace headwise {

struct GroupFormerOptions {
  std::string model_path;    // as the workers see it
  std::string model_sha256;  // hexadecimal; empty: not checked
  ModelShape shape;
  KvType kv_type = KvType::kFp16;
  // Of a model whose KV does not grow with every position, for
  // FormedGroup::kv_capacity_tokens.
  std::optional<KvGeometry> kv;
  // KV of all ranks together; shared out by units, so that every rank holds the
  // same number of positions. A rank whose own memory allows less bounds all.
  int64_t kv_capacity_bytes = 0;
  int64_t max_step_tokens = 512;
  GroupChoice group = GroupChoice::kAuto;
  // Ranks that every unit's context is cut over, 1: none is cut (CutContexts).
  int ranks_per_context = 1;
  bool fast_reduction = false;
  // Of one collective: a frozen peer is an error for the others after it.
  absl::Duration group_timeout = absl::Milliseconds(2500);
  absl::Duration prepare_timeout = absl::Minutes(10);
  // A worker that neither answers nor tells progress for this long is given up.
  // Must exceed the workers' own limit of joining, 10 s.
  absl::Duration prepare_stall_timeout = absl::Seconds(20);
  absl::Duration join_timeout = absl::Seconds(12);
  absl::Duration probe_timeout = absl::Seconds(1);
  // Both are called from within Form: mean progress of all ranks, 0 to 1; and
  // whether a member is none any more, so that nobody waits for it (empty:
  // never).
  std::function<void(double)> on_progress;
  std::function<bool(const Member&)> has_left;
};

// A group that has joined, and what it cost.
struct FormedGroup {
  uint64_t membership_epoch = 0;
  GroupChoice group = GroupChoice::kInProcess;
  uint32_t protocol = 0;                           // the highest that all speak
  std::vector<Member> members;                     // by rank
  std::vector<std::shared_ptr<WorkerLink>> links;  // by rank
  PlacementPlan plan;
  std::vector<PreparedShard> prepared;  // by rank
  // Of the longest sequence without a plan: the least over ranks.
  int64_t kv_capacity_tokens = 0;
  KvCapacity kv_capacity;
};

// For operators: epoch, kind, KV and who has how much.
std::string DescribeGroup(const FormedGroup& group);

struct FormationFailure {
  absl::Status status;
  std::vector<size_t> silent;  // ranks that are gone: no answer, no connection
  std::vector<size_t> unfit;   // ranks that refused while others did not
  std::vector<size_t> ahead;   // ranks that called the epoch an old one
  bool in_join = false;        // all had prepared
};

// Positions that every rank can hold: the least over ranks of blocks per unit,
// in positions; ranks without units hold any number.
int64_t KvCapacityTokens(const PlacementPlan& plan,
                         const std::vector<PreparedShard>& prepared,
                         int64_t kv_bytes_per_unit_position);

// Bytes that each rank has for KV, and who holds which unit.
KvCapacity KvCapacityOf(const PlacementPlan& plan,
                        const std::vector<PreparedShard>& prepared,
                        int64_t kv_bytes_per_unit_position);

// By rank.
std::vector<uint64_t> RegistrationsOf(const std::vector<Member>& members);

// One caller at a time; Cancel from any thread. Remembers what each member
// loaded, so that the next group moves little.
class GroupFormer {
 public:
  explicit GroupFormer(const GroupFormerOptions& options);

  // Blocks until the group stands or has failed. `links` by rank.
  absl::StatusOr<FormedGroup> Form(
      uint64_t membership_epoch, std::vector<Member> members,
      std::vector<std::shared_ptr<WorkerLink>> links,
      FormationFailure* failure);

  // Ranks that do not answer within probe_timeout, ascending. Blocks so long.
  std::vector<size_t> FindSilent(
      const std::vector<std::shared_ptr<WorkerLink>>& links);

  // What blocks returns soon with Cancelled; for the end of the program.
  void Cancel() { cancelled_ = true; }

 private:
  absl::Status PrepareAll(FormedGroup* group, FormationFailure* failure);
  absl::Status JoinAll(const FormedGroup& group, FormationFailure* failure);
  absl::StatusOr<WorkerConfig> ConfigFor(const FormedGroup& group,
                                         size_t rank) const;
  absl::StatusOr<int64_t> PlanKvTokens(const PlacementPlan& plan) const;
  absl::StatusOr<GroupChoice> ChooseGroup(
      const std::vector<Member>& members) const;

  const GroupFormerOptions options_;
  HeldShards held_;  // what members were last told to load
  // Registrations, by rank, of a group of kAuto that could not join over NCCL.
  std::vector<uint64_t> without_nccl_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GROUP_FORMER_H_
