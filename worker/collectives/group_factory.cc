#include "worker/collectives/group_factory.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/collectives/pending_gloo_group.h"
#include "worker/collectives/shared_memory_group.h"

namespace headwise {
absl::StatusOr<std::unique_ptr<PendingGroup>> PendingGroup::Prepare(
    const GroupSpec& spec) {
  if (spec.world_size < 1 || spec.world_size > kMaxWorldSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "world size ", spec.world_size, " is not within 1 .. ", kMaxWorldSize));
  }
  if (spec.rank < 0 || spec.rank >= spec.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank ", spec.rank, " is not within 0 .. ", spec.world_size - 1));
  }
  if (spec.options.timeout <= absl::ZeroDuration() ||
      spec.join_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "timeouts must be positive: ",
        absl::FormatDuration(spec.options.timeout), " for a call, ",
        absl::FormatDuration(spec.join_timeout), " for joining"));
  }
  switch (spec.kind) {
    case GroupKind::kSharedMemory:
      return PrepareSharedMemoryGroup(spec);
    case GroupKind::kGloo:
      return PrepareGlooGroup(spec);
    case GroupKind::kNccl:
      return absl::UnimplementedError(
          "a group over NCCL: this worker has no GPU, or no NCCL");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kind of group ", static_cast<int>(spec.kind)));
}

}  // namespace headwise
