// Groups whose ranks own a GPU each, over NCCL.

#ifndef HEADWISE_WORKER_COLLECTIVES_NCCL_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_NCCL_GROUP_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_factory.h"
#include "worker/collectives/nccl_communicator.h"

namespace headwise {

// What the caller hands in of the host's memory goes through the staging memory
// in pieces; sums may lie on the device. NCCL does not tell for whom a rank
// waits, so DeadlineExceeded names the call and no rank; it has no deadlines of
// its own, so each call here polls until the group's. AllReduceSum of floats is
// in NCCL's order.
class NcclGroup final : public Group {
 public:
  // Meets the other ranks of `spec` within its join_timeout, and sees them add
  // up. DeadlineExceeded if one of them does not come, DataLoss naming the sum
  // if it is wrong.
  static absl::StatusOr<std::unique_ptr<Group>> Join(
      const GroupSpec& spec, std::unique_ptr<NcclCommunicator> communicator,
      const NcclId& id);
  ~NcclGroup() override;

  int rank() const override { return spec_.rank; }
  int world_size() const override { return spec_.world_size; }
  uint64_t membership_epoch() const override { return spec_.membership_epoch; }
  const char* kind() const override { return "nccl"; }

  absl::Status AllReduceSum(absl::Span<int64_t> values) override;
  absl::Status AllReduceSum(absl::Span<float> values) override;
  bool sums_on_device() const override { return true; }
  absl::Status SumOnDevice(int64_t* values, int64_t num_values) override;
  absl::Status AllGather(absl::Span<const uint8_t> mine,
                         absl::Span<uint8_t> all) override;
  absl::Status Broadcast(absl::Span<uint8_t> data, int root) override;
  absl::Status Send(absl::Span<const uint8_t> data, int to) override;
  absl::Status Receive(absl::Span<uint8_t> data, int from) override;
  void Abort(absl::Status reason) override;

 private:
  NcclGroup(const GroupSpec& spec,
            std::unique_ptr<NcclCommunicator> communicator);

  // Runs `call`, which enqueues, and polls until it has ended. Every error is
  // the end of the group.
  absl::Status Run(absl::string_view what, absl::Duration timeout,
                   const std::function<absl::Status()>& call);
  absl::Status Await(absl::string_view what, absl::Duration timeout);
  // The group lives, and so it goes on if `arguments` are good.
  absl::Status StartCall(absl::Status arguments = absl::OkStatus());
  // Run of a piece: `in` goes to the device's begin, then comes `call`, then
  // num_out bytes from the device's `out` into the staging memory.
  absl::Status RunPiece(absl::string_view what, absl::Span<const uint8_t> in,
                        const std::function<absl::Status()>& call, int64_t out,
                        int64_t num_out);
  template <typename T>
  absl::Status AllReduce(NcclType type, absl::Span<T> values);
  absl::Status Fail(absl::Status reason);
  absl::Status failure();
  int64_t piece_bytes() const;

  const GroupSpec spec_;
  const std::unique_ptr<NcclCommunicator> communicator_;  // calling thread's
  bool is_aborted_ = false;                               // calling thread's

  absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

// As PendingGroup::Prepare, of a `spec` in its ranges, on a communicator that
// `open` gives. Rank 0's endpoint carries the id; each carries the version of
// its NCCL, which Join wants equal on all ranks: FailedPrecondition names rank
// and versions.
absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareNcclGroup(
    const GroupSpec& spec, const NcclOpener& open);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_NCCL_GROUP_H_
