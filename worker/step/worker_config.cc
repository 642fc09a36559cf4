#include "worker/step/worker_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace headwise {

bool ContextCut::Involves(int rank) const {
  return owner == rank || std::find(rank_of_range.begin(), rank_of_range.end(),
                                    rank) != rank_of_range.end();
}

int64_t Shard::num_units() const {
  int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += static_cast<int64_t>(layer.units.size());
  }
  return sum;
}

int64_t Shard::num_mlp_tiles() const {
  int64_t sum = 0;
  for (const Layer& layer : layers) {
    sum += static_cast<int64_t>(layer.mlp_tiles.size());
  }
  return sum;
}

absl::StatusOr<GroupChoice> ParseGroupChoice(const std::string& text) {
  if (text == "auto") return GroupChoice::kAuto;
  if (text == "in-process") return GroupChoice::kInProcess;
  if (text == "shm" || text == "shared-memory") {
    return GroupChoice::kSharedMemory;
  }
  if (text == "gloo") return GroupChoice::kGloo;
  if (text == "nccl") return GroupChoice::kNccl;
  return absl::InvalidArgumentError(
      absl::StrCat("group kind \"", text,
                   "\" is none of auto, in-process, shm, gloo, nccl"));
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
    case GroupChoice::kNccl:
      return "nccl";
  }
  return "unknown";
}

}  // namespace headwise
