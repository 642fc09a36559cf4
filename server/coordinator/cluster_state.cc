#include "server/coordinator/cluster_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

constexpr int64_t kBlockPositions = 64;  // of a worker's cache

HeadMap::Worker WorkerOf(const FormedGroup& group, const ModelShape& shape,
                         size_t rank) {
  const RankForecast& forecast = group.plan.ranks[rank];
  const PreparedShard& prepared = group.prepared[rank];
  HeadMap::Worker worker;
  worker.name = group.members[rank].info.name;
  worker.address = group.members[rank].info.address;
  worker.version = group.members[rank].info.build.version;
  worker.rank = static_cast<int>(rank);
  worker.speed = group.members[rank].info.speed;
  worker.num_units = forecast.num_units;
  worker.num_mlp_tiles = forecast.num_mlp_tiles;
  worker.num_vocab_tiles = forecast.num_vocab_tiles;
  // As packed and allowed, not as planned.
  worker.weight_bytes = prepared.weight_bytes;
  worker.kv_bytes_per_token = forecast.kv_bytes_per_position;
  worker.kv_capacity_bytes = prepared.kv_capacity_blocks * kBlockPositions *
                             shape.kv_bytes_per_unit_position;
  worker.forecast_ms_per_token = forecast.decode_ms;
  return worker;
}

// Empty if one rank has the whole deal.
std::vector<int> HoldersOf(std::vector<int> deal) {
  std::sort(deal.begin(), deal.end());
  deal.erase(std::unique(deal.begin(), deal.end()), deal.end());
  if (deal.size() < 2) deal.clear();
  return deal;
}

}  // namespace

HeadMap MakeHeadMap(const std::string& model_name, const Hyperparameters& hyper,
                    const ModelShape& shape, const ClusterStatus& status) {
  HeadMap map;
  map.model = model_name;
  map.num_layers = hyper.num_layers;
  map.num_heads = hyper.num_heads;
  map.num_kv_heads = hyper.num_kv_heads;
  if (status.group == nullptr) return map;
  const FormedGroup& group = *status.group;
  map.membership_epoch = group.membership_epoch;
  map.world_size = group.plan.placement.world_size;
  map.group_kind = GroupChoiceName(group.group);
  map.protocol = group.protocol;
  for (size_t rank = 0; rank < group.members.size(); ++rank) {
    map.workers.push_back(WorkerOf(group, shape, rank));
  }
  const UnitPolicy policy = DefaultUnitPolicy(hyper);
  const auto& unit_rank = group.plan.placement.unit_rank;
  const auto& range_rank = group.plan.placement.range_rank;
  for (size_t layer = 0; layer < unit_rank.size(); ++layer) {
    for (size_t kv_head = 0; kv_head < unit_rank[layer].size(); ++kv_head) {
      HeadMap::Unit unit;
      unit.layer = static_cast<int64_t>(layer);
      unit.kv_head = static_cast<int64_t>(kv_head);
      unit.rank = unit_rank[layer][kv_head];
      unit.policy = NameOf(policy.kind);
      unit.policy_description = DescribePolicy(policy);
      unit.weight_bytes = shape.unit_weight_bytes;
      unit.kv_bytes_per_token = shape.kv_bytes_per_unit_position;
      if (!range_rank.empty()) {
        unit.context_ranks = HoldersOf(range_rank[layer][kv_head]);
      }
      map.units.push_back(std::move(unit));
    }
  }
  map.forecast_ms_per_token = group.plan.decode_ms;
  map.max_context_len =
      std::min(group.kv_capacity_tokens, hyper.max_context_len);
  return map;
}

LiveClusterState::LiveClusterState(std::string model_name, const Model& model,
                                   const ModelShape& shape,
                                   const Membership& membership,
                                   std::function<ClusterStatus()> status)
    : model_name_(std::move(model_name)),
      model_(model),
      shape_(shape),
      membership_(membership),
      status_(std::move(status)) {}

std::shared_ptr<const HeadMap> LiveClusterState::head_map() const {
  const ClusterStatus status = status_();
  absl::MutexLock lock(&mutex_);
  if (cached_ == nullptr || cached_group_ != status.group) {
    cached_ = std::make_shared<const HeadMap>(
        MakeHeadMap(model_name_, model_.hyperparameters(), shape_, status));
    cached_group_ = status.group;
  }
  return cached_;
}

bool LiveClusterState::ready() const { return status_().serving; }

std::string LiveClusterState::detail() const { return status_().detail; }

// Those that are here and do not serve, then those that are not here.
std::vector<MissingMember> LiveClusterState::missing_workers() const {
  std::vector<MissingMember> missing;
  const std::shared_ptr<const FormedGroup> group = status_().group;
  if (group != nullptr) {
    for (const Member& member : membership_.view()->members) {
      const bool serves = std::any_of(
          group->members.begin(), group->members.end(),
          [&member](const Member& in_group) {
            return in_group.registration_id == member.registration_id;
          });
      if (serves) continue;
      missing.push_back({member.info.name,
                         absl::StrCat("at ", member.info.address,
                                      ", is here, and waits to be taken in or "
                                      "is left out after it failed")});
    }
  }
  for (MissingMember& absent : membership_.missing()) {
    missing.push_back(std::move(absent));
  }
  return missing;
}

std::map<std::string, int64_t> LiveClusterState::worker_arrivals() const {
  return membership_.arrivals();
}

}  // namespace headwise
