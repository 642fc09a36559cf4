#include "worker/collectives/call_checks.h"

#include "absl/strings/str_cat.h"

namespace headwise {

absl::Status CheckGather(const Group& group, int64_t num_mine,
                         int64_t num_all) {
  if (num_all == num_mine * group.world_size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("all_gather of ", num_mine, " bytes on ", group.world_size(),
                   " ranks into ", num_all, " bytes"));
}

absl::Status CheckRoot(const Group& group, int root) {
  if (root >= 0 && root < group.world_size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "broadcast from rank ", root, " of ", group.world_size(), " ranks"));
}

absl::Status CheckPeer(const Group& group, absl::string_view what, int peer) {
  if (peer >= 0 && peer < group.world_size() && peer != group.rank()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(what, " rank ", peer, " by rank ", group.rank(), " of ",
                   group.world_size(), " ranks"));
}

}  // namespace headwise
