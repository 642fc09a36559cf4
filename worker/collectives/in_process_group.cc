#include "worker/collectives/in_process_group.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/host_segment.h"
#include "worker/collectives/segment_group.h"

namespace headwise {

absl::StatusOr<std::vector<std::unique_ptr<Group>>> CreateInProcessGroups(
    int world_size, uint64_t membership_epoch, const GroupOptions& options) {
  if (world_size < 1 || world_size > kMaxWorldSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "world size ", world_size, " is not within 1 .. ", kMaxWorldSize));
  }
  HEADWISE_ASSIGN_OR_RETURN(const ProcessIdentity self, OwnIdentity());
  HEADWISE_ASSIGN_OR_RETURN(
      const std::shared_ptr<HostSegment> segment,
      HostSegment::CreateInProcess({.world_size = world_size,
                                    .membership_epoch = membership_epoch,
                                    .sum_slot_bytes = SumSlotBytes(options)}));
  for (int rank = 0; rank < world_size; ++rank) {
    HEADWISE_RETURN_IF_ERROR(segment->Claim(rank, self));
  }
  std::vector<std::unique_ptr<Group>> groups;
  for (int rank = 0; rank < world_size; ++rank) {
    groups.push_back(
        std::make_unique<SegmentGroup>(segment, rank, "in-process", options));
  }
  return groups;
}

}  // namespace headwise
