#include "server/dispatch/group_former.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/dispatch/gather.h"
#include "server/dispatch/group_choice.h"
#include "server/placement/context_cut.h"

namespace headwise {
namespace {

constexpr int64_t kBlockPositions = 64;  // of a worker's cache
constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The rank itself is gone, as far as we can tell.
bool IsGone(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsCancelled(status);
}

// The rank's answers sorted into gone, ahead, unfit and fine.
absl::Status Judge(const char* what, const std::vector<Member>& members,
                   const std::vector<std::optional<absl::Status>>& answers,
                   FormationFailure* failure) {
  absl::Status first;
  size_t num_fine = 0;
  std::vector<size_t> unfit;
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    absl::Status status =
        answers[rank].value_or(absl::DeadlineExceededError("no answer"));
    if (status.ok()) {
      ++num_fine;
      continue;
    }
    if (IsGone(status)) {
      failure->silent.push_back(rank);
    } else if (absl::IsAborted(status)) {
      failure->ahead.push_back(rank);
    } else {
      unfit.push_back(rank);
    }
    if (first.ok()) {
      first = absl::Status(status.code(),
                           absl::StrCat("worker ", members[rank].info.name, " ",
                                        what, ": ", status.message()));
    }
  }
  // If all refuse, the configuration is wrong and not the workers.
  if (num_fine > 0) failure->unfit = std::move(unfit);
  return first;
}

// A rank without room for one block per unit could serve no request at all.
absl::Status CheckCapacity(const RankForecast& rank,
                           const PreparedShard& prepared) {
  if (prepared.kv_capacity_blocks >= rank.num_units) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("it has room for ", prepared.kv_capacity_blocks,
                   " blocks of KV, needed is one for each of its ",
                   rank.num_units, " units"));
}

}  // namespace

int64_t KvCapacityTokens(const PlacementPlan& plan,
                         const std::vector<PreparedShard>& prepared,
                         int64_t kv_bytes_per_unit_position) {
  int64_t tokens = kUnlimited;
  for (size_t rank = 0; rank < prepared.size(); ++rank) {
    const int64_t per_position = plan.ranks[rank].kv_bytes_per_position;
    if (per_position == 0) continue;
    // In blocks, so that nothing overflows before it is divided.
    const double unit_share = static_cast<double>(kv_bytes_per_unit_position) /
                              static_cast<double>(per_position);
    const auto blocks = static_cast<int64_t>(
        static_cast<double>(prepared[rank].kv_capacity_blocks) * unit_share);
    tokens = std::min(tokens, blocks > kUnlimited / kBlockPositions
                                  ? kUnlimited
                                  : blocks * kBlockPositions);
  }
  return tokens;
}

KvCapacity KvCapacityOf(const PlacementPlan& plan,
                        const std::vector<PreparedShard>& prepared,
                        int64_t kv_bytes_per_unit_position) {
  KvCapacity capacity;
  for (const std::vector<int>& layer : plan.placement.unit_rank) {
    capacity.unit_rank.insert(capacity.unit_rank.end(), layer.begin(),
                              layer.end());
  }
  for (const auto& layer : plan.placement.range_rank) {
    capacity.range_rank.insert(capacity.range_rank.end(), layer.begin(),
                               layer.end());
  }
  for (const PreparedShard& rank : prepared) {
    capacity.rank_bytes.push_back(rank.kv_capacity_blocks * kBlockPositions *
                                  kv_bytes_per_unit_position);
  }
  return capacity;
}

std::vector<uint64_t> RegistrationsOf(const std::vector<Member>& members) {
  std::vector<uint64_t> ids;
  for (const Member& member : members) ids.push_back(member.registration_id);
  return ids;
}

std::string DescribeGroup(const FormedGroup& group) {
  std::string text = absl::StrCat(
      "epoch ", group.membership_epoch, ": ", group.members.size(),
      " workers over ", GroupChoiceName(group.group), ", protocol ",
      group.protocol, ", ", group.kv_capacity_tokens, " tokens of KV;");
  for (size_t rank = 0; rank < group.members.size(); ++rank) {
    const PreparedShard& prepared = group.prepared[rank];
    absl::StrAppend(
        &text, rank == 0 ? " " : ", ", group.members[rank].info.name, " has ",
        group.plan.ranks[rank].num_units, " units, loaded ",
        prepared.loaded_weight_bytes, " of ", prepared.weight_bytes, " bytes");
  }
  return text;
}

GroupFormer::GroupFormer(const GroupFormerOptions& options)
    : options_(options) {}

// Whole blocks that kv_capacity_bytes and the memory of each rank allow.
absl::StatusOr<int64_t> GroupFormer::PlanKvTokens(
    const PlacementPlan& plan) const {
  int64_t bytes_per_position = 0;
  for (const RankForecast& rank : plan.ranks) {
    bytes_per_position += rank.kv_bytes_per_position;
  }
  int64_t tokens = options_.kv_capacity_bytes / bytes_per_position;
  for (const RankForecast& rank : plan.ranks) {
    if (rank.kv_bytes_per_position == 0) continue;
    tokens =
        std::min(tokens, rank.kv_capacity_bytes / rank.kv_bytes_per_position);
  }
  tokens = tokens / kBlockPositions * kBlockPositions;
  if (tokens > 0) return tokens;
  return absl::ResourceExhaustedError(absl::StrCat(
      "the KV of one block of ", kBlockPositions, " positions needs ",
      bytes_per_position * kBlockPositions, " bytes, allowed are ",
      options_.kv_capacity_bytes,
      " over all workers, and what each has left beside its weights"));
}

absl::StatusOr<WorkerConfig> GroupFormer::ConfigFor(const FormedGroup& group,
                                                    size_t rank) const {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t tokens, PlanKvTokens(group.plan));
  WorkerConfig config;
  config.membership_epoch = group.membership_epoch;
  config.model_path = options_.model_path;
  config.model_sha256 = options_.model_sha256;
  config.rank = static_cast<int>(rank);
  config.world_size = group.plan.placement.world_size;
  config.shard = ShardOfRank(group.plan.placement, config.rank);
  config.group = group.group;
  config.group_timeout = options_.group_timeout;
  config.reduction =
      options_.fast_reduction ? ReductionMode::kFast : ReductionMode::kExact;
  config.kv_type = options_.kv_type;
  config.kv_capacity_bytes =
      tokens * group.plan.ranks[rank].kv_bytes_per_position;
  config.max_step_tokens = options_.max_step_tokens;
  config.protocol = group.protocol;
  return config;
}

absl::Status GroupFormer::PrepareAll(FormedGroup* group,
                                     FormationFailure* failure) {
  using Answer = absl::StatusOr<PreparedShard>;
  const size_t num_ranks = group->links.size();
  auto gather = std::make_shared<Gather<Answer>>(num_ranks, Clock::Monotonic());
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    HEADWISE_ASSIGN_OR_RETURN(WorkerConfig config, ConfigFor(*group, rank));
    held_.Set(group->members[rank].registration_id, config.shard);
    group->links[rank]->Prepare(
        std::move(config), options_.prepare_timeout,
        [gather, rank](double value) { gather->SetProgress(rank, value); },
        [gather, rank](Answer answer) {
          gather->Set(rank, std::move(answer));
        });
  }
  const auto has_left = [&](size_t rank) {
    return options_.has_left && options_.has_left(group->members[rank]);
  };
  // Once one is gone there will be no such group: the others need not load to
  // the end, and keep for the next one what they have.
  const std::vector<std::optional<Answer>> answers = gather->Wait(
      options_.prepare_stall_timeout, cancelled_, options_.on_progress,
      [&](size_t rank, const std::optional<Answer>& answer) {
        return has_left(rank) ||
               (answer.has_value() && IsGone(answer->status()));
      });
  const std::vector<size_t> silent =
      gather->Silent(options_.prepare_stall_timeout);
  std::vector<std::optional<absl::Status>> statuses(num_ranks);
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    const std::optional<Answer>& answer = answers[rank];
    if (has_left(rank)) {
      statuses[rank] = absl::UnavailableError("it has left");
      continue;
    }
    if (!answer.has_value()) {
      const bool loads =
          std::find(silent.begin(), silent.end(), rank) == silent.end();
      if (loads) statuses[rank] = absl::OkStatus();
      continue;
    }
    statuses[rank] = answer->ok()
                         ? CheckCapacity(group->plan.ranks[rank], **answer)
                         : answer->status();
  }
  HEADWISE_RETURN_IF_ERROR(
      Judge("could not prepare", group->members, statuses, failure));
  for (const std::optional<Answer>& answer : answers) {
    if (!answer.has_value()) return absl::CancelledError("shutting down");
    group->prepared.push_back(**answer);
  }
  return absl::OkStatus();
}

absl::Status GroupFormer::JoinAll(const FormedGroup& group,
                                  FormationFailure* failure) {
  std::vector<std::string> endpoints;
  for (const PreparedShard& prepared : group.prepared) {
    endpoints.push_back(prepared.endpoint);
  }
  failure->in_join = true;
  auto gather = std::make_shared<Gather<absl::Status>>(group.links.size(),
                                                       Clock::Monotonic());
  for (size_t rank = 0; rank < group.links.size(); ++rank) {
    group.links[rank]->Join(
        group.membership_epoch, endpoints, options_.join_timeout,
        [gather, rank](absl::Status status) { gather->Set(rank, status); });
  }
  FormationFailure judged;
  const absl::Status status =
      Judge("could not join", group.members,
            gather->Wait(options_.join_timeout, cancelled_), &judged);
  if (status.ok() || cancelled_) return status;
  // Who fails to join may only have waited for the one that is gone.
  failure->silent = FindSilent(group.links);
  // All are well, but not their NCCL: peer-to-peer or network between them.
  if (group.group == GroupChoice::kNccl && failure->silent.empty()) {
    without_nccl_ = RegistrationsOf(group.members);
  }
  return status;
}

std::vector<size_t> GroupFormer::FindSilent(
    const std::vector<std::shared_ptr<WorkerLink>>& links) {
  auto gather =
      std::make_shared<Gather<absl::Status>>(links.size(), Clock::Monotonic());
  for (size_t rank = 0; rank < links.size(); ++rank) {
    links[rank]->Probe(
        options_.probe_timeout,
        [gather, rank](absl::Status status) { gather->Set(rank, status); });
  }
  std::vector<size_t> silent;
  const auto answers = gather->Wait(
      options_.probe_timeout + absl::Milliseconds(200), cancelled_);
  for (size_t rank = 0; rank < links.size(); ++rank) {
    if (!answers[rank].has_value() || !answers[rank]->ok()) {
      silent.push_back(rank);
    }
  }
  return silent;
}

// The host's way, once these members were seen to be unable to join over NCCL.
absl::StatusOr<GroupChoice> GroupFormer::ChooseGroup(
    const std::vector<Member>& members) const {
  if (options_.group == GroupChoice::kAuto &&
      RegistrationsOf(members) == without_nccl_) {
    return HostGroup(members);
  }
  return ResolveGroup(options_.group, members);
}

absl::StatusOr<FormedGroup> GroupFormer::Form(
    uint64_t membership_epoch, std::vector<Member> members,
    std::vector<std::shared_ptr<WorkerLink>> links, FormationFailure* failure) {
  FormedGroup group;
  group.membership_epoch = membership_epoch;
  group.members = std::move(members);
  group.links = std::move(links);
  group.protocol = CommonProtocols(OwnBuild().protocols, group.members).newest;
  std::vector<WorkerCapacity> workers;
  for (const Member& member : group.members) {
    workers.push_back(
        {member.info.name, member.info.speed, member.info.memory_bytes});
  }
  // Placed for one block per sequence; more context is the engine's admission.
  absl::StatusOr<PlacementPlan> plan =
      PlanPlacement(options_.shape, workers, kBlockPositions,
                    held_.By(RegistrationsOf(group.members), options_.shape));
  absl::Status status = plan.status();
  if (plan.ok()) {
    // A group that shrank below what was asked for cuts over all that it has.
    status = CutContexts(
        options_.shape, workers,
        std::min(options_.ranks_per_context, static_cast<int>(workers.size())),
        &*plan);
  }
  if (status.ok()) {
    const absl::StatusOr<GroupChoice> choice = ChooseGroup(group.members);
    status = choice.status();
    group.group = choice.value_or(GroupChoice::kAuto);
  }
  if (status.ok()) {
    group.plan = *std::move(plan);
    status = PrepareAll(&group, failure);
  }
  if (status.ok()) status = JoinAll(group, failure);
  if (cancelled_) status = absl::CancelledError("shutting down");
  if (!status.ok()) {
    failure->status = status;
    return status;
  }
  group.kv_capacity_tokens = KvCapacityTokens(
      group.plan, group.prepared, options_.shape.kv_bytes_per_unit_position);
  group.kv_capacity = KvCapacityOf(group.plan, group.prepared,
                                   options_.shape.kv_bytes_per_unit_position);
  if (options_.kv.has_value()) {
    group.kv_capacity_tokens =
        KvNeeds(*options_.kv, group.kv_capacity).LongestContext(nullptr);
  }
  return group;
}

}  // namespace headwise
