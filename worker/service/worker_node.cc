#include "worker/service/worker_node.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/pulse.h"
#include "base/status_macros.h"
#include "worker/collectives/nccl_group.h"
#include "worker/service/input_checks.h"
#include "worker/step/step_errors.h"

namespace headwise {
namespace {

static_assert(kMaxRanks == kMaxWorldSize);

// Of files that are written or read, as a coordinator allows for each.
constexpr absl::Duration kParkAllowance = absl::Minutes(10);

// So little that nobody notices: a core sums up some 8 GB/s, and a step reads
// all weights.
constexpr int64_t kStepsPerWeightCheck = 1024;
constexpr int64_t kLeastBytesPerStep = 4096;
constexpr int64_t kBytesPerIdlePulse = int64_t{16} << 20;

// The executor's promise: nothing was changed on any rank, or no more than the
// step's own sequences.
bool LeavesGroupUsable(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status) ||
         absl::IsOutOfRange(status);
}

absl::StatusOr<std::shared_ptr<const Model>> OpenModel(
    const std::string& path) {
  HEADWISE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Open(path));
  return std::shared_ptr<const Model>(std::move(model));
}

GroupKind KindOf(GroupChoice choice) {
  switch (choice) {
    case GroupChoice::kGloo:
      return GroupKind::kGloo;
    case GroupChoice::kNccl:
      return GroupKind::kNccl;
    default:
      return GroupKind::kSharedMemory;
  }
}

absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareGroup(
    const NcclOpener& open_nccl, GroupChoice kind, const GroupSpec& spec) {
  if (kind == GroupChoice::kNccl && open_nccl) {
    return PrepareNcclGroup(spec, open_nccl);
  }
  if (kind == GroupChoice::kInProcess) {
    return absl::InvalidArgumentError(
        "an in-process group needs all ranks in one process");
  }
  return PendingGroup::Prepare(spec);
}

}  // namespace

WorkerNode::WorkerNode(WorkerNodeOptions options)
    : options_(std::move(options)) {
  if (!options_.open_model) options_.open_model = OpenModel;
  if (!options_.create_executor) options_.create_executor = Executor::Create;
  if (!options_.prepare_group) {
    options_.prepare_group = [this](GroupChoice kind, const GroupSpec& spec) {
      return PrepareGroup(options_.open_nccl, kind, spec);
    };
  }
  engine_ = std::thread([this] { EngineLoop(); });
}

WorkerNode::~WorkerNode() {
  AbortGroup(membership_epoch(),
             absl::UnavailableError("the worker is shutting down"));
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  engine_.join();
  DropGroup();
}

uint64_t WorkerNode::membership_epoch() const {
  absl::MutexLock lock(&mutex_);
  return newest_epoch_;
}

absl::Status WorkerNode::Enqueue(Command command) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::CancelledError("the worker is shutting down");
  if (commands_.size() >= kMaxCommands) {
    return absl::ResourceExhaustedError(
        absl::StrCat(commands_.size(), " commands wait, limit ", kMaxCommands));
  }
  commands_.push_back(std::move(command));
  return absl::OkStatus();
}

void WorkerNode::EngineLoop() {
  ThreadPulse pulse(kEnginePulse);
  while (true) {
    pulse.Beat();
    Command command;
    bool cancel = false;
    bool is_idle = false;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !commands_.empty();
      };
      is_idle =
          !mutex_.AwaitWithTimeout(absl::Condition(&awake), kPulseInterval);
      if (!is_idle) {
        if (commands_.empty()) return;
        command = std::move(commands_.front());
        commands_.pop_front();
        cancel = stopping_;
      }
    }
    if (is_idle) {
      CheckWeights(kBytesPerIdlePulse).IgnoreError();
      continue;
    }
    pulse.Beat(kLoadAllowance);
    if (cancel) {
      command.cancel(absl::CancelledError("the worker is shutting down"));
    } else {
      command.run();
    }
  }
}

absl::Status WorkerNode::Prepare(WorkerConfig config, Progress progress,
                                 PrepareDone done) {
  HEADWISE_RETURN_IF_ERROR(CheckConfig(config));
  const uint64_t epoch = config.membership_epoch;
  std::shared_ptr<Group> older;
  {
    absl::MutexLock lock(&mutex_);
    if (epoch < newest_epoch_) {
      return absl::AbortedError(absl::StrCat("membership epoch ", epoch,
                                             " is over, this worker has seen ",
                                             newest_epoch_));
    }
    newest_epoch_ = epoch;
    older = group_;
    if (older != nullptr && group_error_.ok()) {
      group_error_ = absl::AbortedError(
          absl::StrCat("replaced by membership epoch ", epoch));
    }
  }
  // So that a step which waits in a collective ends now.
  if (older != nullptr) {
    older->Abort(absl::AbortedError(
        absl::StrCat("replaced by membership epoch ", epoch)));
  }
  // Shared: a std::function must be copyable, and either branch may use it.
  auto answer = std::make_shared<PrepareDone>(std::move(done));
  return Enqueue(
      {[this, config = std::move(config), progress = std::move(progress),
        answer] {
         Log(config, "loads its share");
         const auto prepared = DoPrepare(config, progress);
         (*answer)(prepared);
         Log(config, prepared.ok()
                         ? absl::StrCat("may join, loaded ",
                                        prepared->loaded_weight_bytes, " of ",
                                        prepared->weight_bytes, " bytes")
                         : absl::StrCat("did not load: ",
                                        prepared.status().ToString()));
       },
       [answer](absl::Status status) { (*answer)(status); }});
}

absl::Status WorkerNode::Join(uint64_t membership_epoch,
                              std::vector<std::string> endpoints,
                              std::function<void(absl::Status)> done,
                              std::function<bool()> is_wanted) {
  return Enqueue({[this, membership_epoch, endpoints = std::move(endpoints),
                   done, is_wanted = std::move(is_wanted)] {
                    done(
                        is_wanted && !is_wanted()
                            ? absl::CancelledError("nobody waits for the group")
                            : DoJoin(membership_epoch, endpoints));
                  },
                  done});
}

absl::Status WorkerNode::ClaimSteps(uint64_t membership_epoch) {
  absl::MutexLock lock(&mutex_);
  if (membership_epoch != newest_epoch_) {
    return absl::AbortedError(
        absl::StrCat("steps of membership epoch ", membership_epoch,
                     ", this worker's is ", newest_epoch_));
  }
  if (group_ == nullptr || !group_error_.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no group of membership epoch ", membership_epoch, " has joined"));
  }
  if (steps_claimed_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the steps of membership epoch ", membership_epoch,
                     " already have a stream"));
  }
  steps_claimed_ = true;
  return absl::OkStatus();
}

absl::Status WorkerNode::RunStep(uint64_t membership_epoch, Step step,
                                 StepDone done) {
  auto answer = std::make_shared<StepDone>(std::move(done));
  return Enqueue({[this, membership_epoch, step = std::move(step), answer] {
                    (*answer)(DoStep(membership_epoch, step));
                  },
                  [answer](absl::Status status) { (*answer)(status); }});
}

void WorkerNode::AbortGroup(uint64_t membership_epoch,
                            const absl::Status& reason) {
  std::shared_ptr<Group> group;
  {
    absl::MutexLock lock(&mutex_);
    if (group_ == nullptr || group_->membership_epoch() != membership_epoch) {
      return;
    }
    if (group_error_.ok()) group_error_ = reason;
    group = group_;
  }
  group->Abort(reason);
}

// Frees what belongs to the older configuration, the executor before the group
// that it points to.
void WorkerNode::DropGroup() {
  executor_.reset();
  kv_bytes_used_ = 0;
  pending_group_.reset();
  config_.reset();
  last_step_id_.reset();
  std::shared_ptr<Group> group;
  absl::MutexLock lock(&mutex_);
  group.swap(group_);
  group_error_ = absl::OkStatus();
  steps_claimed_ = false;
}

absl::Status WorkerNode::CheckWanted(uint64_t membership_epoch) const {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::CancelledError("the worker is shutting down");
  if (membership_epoch == newest_epoch_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("membership epoch ", membership_epoch,
                                         " was replaced by ", newest_epoch_));
}

void WorkerNode::Log(const WorkerConfig& config, absl::string_view news) const {
  if (!options_.log) return;
  options_.log(absl::StrCat("epoch ", config.membership_epoch, ": rank ",
                            config.rank, " of ", config.world_size, " ", news));
}

absl::StatusOr<PreparedShard> WorkerNode::DoPrepare(const WorkerConfig& config,
                                                    const Progress& progress) {
  HEADWISE_RETURN_IF_ERROR(CheckWanted(config.membership_epoch));
  DropGroup();
  const absl::Status loaded = LoadShard(config, progress);
  // First why loading ended, if it was ended.
  HEADWISE_RETURN_IF_ERROR(CheckWanted(config.membership_epoch));
  HEADWISE_RETURN_IF_ERROR(loaded);
  GroupSpec spec;
  spec.kind = KindOf(config.group);
  spec.rank = config.rank;
  spec.world_size = config.world_size;
  spec.membership_epoch = config.membership_epoch;
  spec.options.timeout = config.group_timeout;
  spec.join_timeout = options_.join_timeout;
  spec.options.spin = options_.spin;
  spec.options.started_sum_bytes = MaxSumBytes(model_->hyperparameters());
  spec.bind_address = options_.bind_address;
  HEADWISE_ASSIGN_OR_RETURN(pending_group_,
                            options_.prepare_group(config.group, spec));
  config_ = config;
  return PreparedShard{pending_group_->endpoint(), executor_->weight_bytes(),
                       executor_->kv_capacity_blocks(),
                       executor_->loaded_weight_bytes()};
}

absl::Status WorkerNode::DoJoin(uint64_t membership_epoch,
                                const std::vector<std::string>& endpoints) {
  if (!config_.has_value() || config_->membership_epoch != membership_epoch ||
      pending_group_ == nullptr) {
    return absl::AbortedError(absl::StrCat(
        "nothing is prepared for membership epoch ", membership_epoch));
  }
  if (endpoints.size() != static_cast<size_t>(config_->world_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("join has ", endpoints.size(), " endpoints, expected ",
                     config_->world_size));
  }
  const absl::Status joined = JoinGroup(endpoints);
  Log(*config_, joined.ok()
                    ? "has joined"
                    : absl::StrCat("did not join: ", joined.ToString()));
  return joined;
}

absl::Status WorkerNode::JoinGroup(const std::vector<std::string>& endpoints) {
  std::unique_ptr<PendingGroup> pending = std::move(pending_group_);
  HEADWISE_ASSIGN_OR_RETURN(std::shared_ptr<Group> group,
                            pending->Join(endpoints));
  executor_->SetGroup(group.get());
  absl::MutexLock lock(&mutex_);
  group_ = std::move(group);
  return absl::OkStatus();
}

// Bad ones end the group and are loaded anew with the next one.
absl::Status WorkerNode::CheckWeights(int64_t max_bytes) {
  if (executor_ == nullptr) return absl::OkStatus();
  const absl::Status status = executor_->CheckWeights(max_bytes);
  if (status.ok()) return status;
  held_.Clear();
  if (config_.has_value()) AbortGroup(config_->membership_epoch, status);
  return status;
}

absl::StatusOr<StepResult> WorkerNode::DoStep(uint64_t membership_epoch,
                                              const Step& step) {
  if (!config_.has_value() || config_->membership_epoch != membership_epoch) {
    return absl::AbortedError(
        absl::StrCat("step ", step.step_id, " is of membership epoch ",
                     membership_epoch, ", this worker's is ",
                     config_.has_value() ? config_->membership_epoch : 0));
  }
  {
    absl::MutexLock lock(&mutex_);
    if (group_ == nullptr) {
      return absl::FailedPreconditionError("the group has not joined");
    }
    if (!group_error_.ok()) return group_error_;
  }
  if (last_step_id_.has_value() && step.step_id != *last_step_id_ + 1) {
    const absl::Status status = absl::InternalError(
        absl::StrCat("step ", step.step_id, " after step ", *last_step_id_,
                     "; they count up by 1"));
    AbortGroup(membership_epoch, status);
    return status;
  }
  last_step_id_ = step.step_id;
  BeatThreadPulse(step.parks.empty() ? kStepAllowance : kParkAllowance);
  HEADWISE_RETURN_IF_ERROR(
      CheckStep(step, model_->hyperparameters(), config_->max_step_tokens));
  absl::StatusOr<StepResult> result = executor_->Run(step);
  kv_bytes_used_ = executor_->kv_bytes_used();
  // A value that is not finite may be the model's, or a weight that has
  // changed.
  const bool is_suspect =
      absl::IsOutOfRange(result.status()) && !IsMemoryBlewUp(result.status());
  const absl::Status weights = CheckWeights(
      is_suspect ? std::numeric_limits<int64_t>::max()
                 : std::max(kLeastBytesPerStep,
                            executor_->weight_bytes() / kStepsPerWeightCheck));
  if (!weights.ok()) return weights;
  if (!result.ok() && !LeavesGroupUsable(result.status())) {
    // Peers may wait for us in a collective that we will not enter.
    AbortGroup(membership_epoch, result.status());
  }
  return result;
}

}  // namespace headwise
