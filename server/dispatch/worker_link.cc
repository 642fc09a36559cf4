#include "server/dispatch/worker_link.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {

absl::StatusOr<GroupChoice> ParseGroupChoice(const std::string& text) {
  if (text == "auto") return GroupChoice::kAuto;
  if (text == "in-process") return GroupChoice::kInProcess;
  if (text == "shm" || text == "shared-memory") {
    return GroupChoice::kSharedMemory;
  }
  if (text == "gloo") return GroupChoice::kGloo;
  return absl::InvalidArgumentError(absl::StrCat(
      "group kind \"", text, "\" is none of auto, in-process, shm, gloo"));
}

const char* GroupChoiceName(GroupChoice choice) {
  switch (choice) {
    case GroupChoice::kAuto:
      return "auto";
    case GroupChoice::kInProcess:
      return "in-process";
    case GroupChoice::kSharedMemory:
      return "shared-memory";
    case GroupChoice::kGloo:
      return "gloo";
  }
  return "unknown";
}

int64_t RankShard::num_units() const {
  int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += static_cast<int64_t>(layer.units.size());
  }
  return sum;
}

int64_t RankShard::num_mlp_tiles() const {
  int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += static_cast<int64_t>(layer.mlp_tiles.size());
  }
  return sum;
}

RankShard ShardOfRank(const Placement& placement, int rank) {
  HEADWISE_CHECK(rank >= 0 && rank < placement.world_size);
  HEADWISE_CHECK(placement.unit_rank.size() == placement.mlp_tile_rank.size());
  // Indices at which `ranks` names `rank`; ascending, since the walk is.
  const auto held = [rank](const std::vector<int>& ranks) {
    std::vector<int> indices;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank) indices.push_back(static_cast<int>(i));
    }
    return indices;
  };
  RankShard shard;
  for (size_t layer = 0; layer < placement.unit_rank.size(); ++layer) {
    shard.layers.push_back({held(placement.unit_rank[layer]),
                            held(placement.mlp_tile_rank[layer])});
  }
  shard.vocab_tiles = held(placement.vocab_tile_rank);
  return shard;
}

}  // namespace headwise
