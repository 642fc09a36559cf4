#include "server/dispatch/group_choice.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {

absl::Status CheckNccl(const std::vector<Member>& members) {
  std::map<std::string, std::string> name_of_gpu;
  const MemberInfo& first = members.front().info;
  for (const Member& member : members) {
    const MemberInfo& info = member.info;
    if (info.nccl_version == 0 || info.gpu_id.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("worker ", info.name,
                       " has no NCCL: it is no headwise-worker-cuda on a GPU"));
    }
    if (info.nccl_version != first.nccl_version) {
      return absl::FailedPreconditionError(absl::StrCat(
          "worker ", info.name, " has version ", info.nccl_version,
          " of NCCL, worker ", first.name, " has ", first.nccl_version));
    }
    const auto [found, is_new] = name_of_gpu.emplace(info.gpu_id, info.name);
    if (!is_new) {
      return absl::FailedPreconditionError(
          absl::StrCat("workers ", found->second, " and ", info.name,
                       " run on one GPU, which NCCL does not allow"));
    }
  }
  return absl::OkStatus();
}

GroupChoice HostGroup(const std::vector<Member>& members) {
  const std::string& host = members.front().info.host_id;
  if (host.empty()) return GroupChoice::kGloo;
  for (const Member& member : members) {
    if (member.info.host_id != host) return GroupChoice::kGloo;
  }
  return GroupChoice::kSharedMemory;
}

absl::StatusOr<GroupChoice> ResolveGroup(GroupChoice choice,
                                         const std::vector<Member>& members) {
  if (choice == GroupChoice::kNccl) {
    HEADWISE_RETURN_IF_ERROR(CheckNccl(members));
  }
  if (choice != GroupChoice::kAuto) return choice;
  if (members.size() > 1 && CheckNccl(members).ok()) return GroupChoice::kNccl;
  return HostGroup(members);
}

}  // namespace headwise
