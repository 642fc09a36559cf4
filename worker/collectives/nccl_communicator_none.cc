#include "absl/status/status.h"
#include "worker/collectives/nccl_communicator.h"

namespace headwise {

absl::StatusOr<NcclOffer> OfferNccl(int) {
  return absl::UnimplementedError("groups of GPUs: this build has no NCCL");
}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> OpenNcclCommunicator(
    int, int64_t) {
  return absl::UnimplementedError("groups of GPUs: this build has no NCCL");
}

}  // namespace headwise
