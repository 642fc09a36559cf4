#include "worker/collectives/nccl_group.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// A decode step's sums take some 20 us: until then a core is worth less than
// the latency, after it a nap is.
constexpr absl::Duration kSpin = absl::Microseconds(200);
constexpr absl::Duration kNap = absl::Microseconds(20);
constexpr int64_t kPieceAlignment = 256;

absl::Time Now() { return Clock::Monotonic().Now(); }

}  // namespace

NcclGroup::NcclGroup(const GroupSpec& spec,
                     std::unique_ptr<NcclCommunicator> communicator)
    : spec_(spec), communicator_(std::move(communicator)) {}

NcclGroup::~NcclGroup() {
  if (!is_aborted_) communicator_->Abort();
}

absl::StatusOr<std::unique_ptr<Group>> NcclGroup::Join(
    const GroupSpec& spec, std::unique_ptr<NcclCommunicator> communicator,
    const NcclId& id) {
  std::unique_ptr<NcclGroup> group(
      new NcclGroup(spec, std::move(communicator)));
  HEADWISE_RETURN_IF_ERROR(
      group->Run("joining", spec.join_timeout, [&]() -> absl::Status {
        return group->communicator_->Init(id, spec.rank, spec.world_size);
      }));
  return group;
}

// A gather needs a piece of each rank beside its own.
int64_t NcclGroup::piece_bytes() const {
  const int64_t bytes =
      communicator_->staging().size() / (spec_.world_size + 1);
  return bytes / kPieceAlignment * kPieceAlignment;
}

absl::Status NcclGroup::Run(absl::string_view what, absl::Duration timeout,
                            const std::function<absl::Status()>& call) {
  HEADWISE_RETURN_IF_ERROR(failure());
  absl::Status status = call();
  if (status.ok()) status = Await(what, timeout);
  return status.ok() ? status : Fail(std::move(status));
}

absl::Status NcclGroup::Await(absl::string_view what, absl::Duration timeout) {
  const absl::Time begin = Now();
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const bool is_done, communicator_->Poll());
    if (is_done) return absl::OkStatus();
    HEADWISE_RETURN_IF_ERROR(failure());
    const absl::Duration waited = Now() - begin;
    if (waited >= timeout) {
      return absl::DeadlineExceededError(absl::StrCat(
          "rank ", spec_.rank, " waited ", absl::FormatDuration(timeout),
          " in ", what, " in epoch ", spec_.membership_epoch,
          " (NCCL does not tell for whom)"));
    }
    if (waited < kSpin) {
      std::this_thread::yield();
    } else {
      absl::SleepFor(kNap);
    }
  }
}

absl::Status NcclGroup::AllReduceSum(absl::Span<int64_t> values) {
  return AllReduce(NcclType::kInt64, values);
}

absl::Status NcclGroup::AllReduceSum(absl::Span<float> values) {
  return AllReduce(NcclType::kFloat, values);
}

template <typename T>
absl::Status NcclGroup::AllReduce(NcclType type, absl::Span<T> values) {
  HEADWISE_RETURN_IF_ERROR(failure());
  const size_t max_values = piece_bytes() / sizeof(T);
  for (size_t begin = 0; begin < values.size(); begin += max_values) {
    const absl::Span<T> piece = values.subspan(begin, max_values);
    const int64_t num_bytes = piece.size() * sizeof(T);
    uint8_t* const staging = communicator_->staging().data();
    std::memcpy(staging, piece.data(), num_bytes);
    HEADWISE_RETURN_IF_ERROR(
        Run("all_reduce", spec_.options.timeout, [&]() -> absl::Status {
          HEADWISE_RETURN_IF_ERROR(communicator_->ToDevice(0, num_bytes));
          HEADWISE_RETURN_IF_ERROR(
              communicator_->AllReduceSum(type, 0, piece.size()));
          return communicator_->ToHost(0, num_bytes);
        }));
    std::memcpy(piece.data(), staging, num_bytes);
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::AllGather(absl::Span<const uint8_t> mine,
                                  absl::Span<uint8_t> all) {
  HEADWISE_RETURN_IF_ERROR(failure());
  if (all.size() != mine.size() * world_size()) {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("all_gather of ", mine.size(), " bytes on ", world_size(),
                     " ranks into ", all.size(), " bytes")));
  }
  const int64_t to = piece_bytes();
  for (size_t begin = 0; begin < mine.size(); begin += piece_bytes()) {
    const absl::Span<const uint8_t> piece = mine.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    uint8_t* const staging = communicator_->staging().data();
    std::memcpy(staging, piece.data(), num_bytes);
    HEADWISE_RETURN_IF_ERROR(
        Run("all_gather", spec_.options.timeout, [&]() -> absl::Status {
          HEADWISE_RETURN_IF_ERROR(communicator_->ToDevice(0, num_bytes));
          HEADWISE_RETURN_IF_ERROR(communicator_->AllGather(0, num_bytes, to));
          return communicator_->ToHost(to, num_bytes * world_size());
        }));
    for (int r = 0; r < world_size(); ++r) {
      std::memcpy(all.data() + r * mine.size() + begin,
                  staging + to + r * num_bytes, num_bytes);
    }
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::Broadcast(absl::Span<uint8_t> data, int root) {
  HEADWISE_RETURN_IF_ERROR(failure());
  if (root < 0 || root >= world_size()) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
        "broadcast from rank ", root, " of ", world_size(), " ranks")));
  }
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<uint8_t> piece = data.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    uint8_t* const staging = communicator_->staging().data();
    if (rank() == root) std::memcpy(staging, piece.data(), num_bytes);
    HEADWISE_RETURN_IF_ERROR(
        Run("broadcast", spec_.options.timeout, [&]() -> absl::Status {
          HEADWISE_RETURN_IF_ERROR(communicator_->ToDevice(0, num_bytes));
          HEADWISE_RETURN_IF_ERROR(
              communicator_->Broadcast(0, num_bytes, root));
          return communicator_->ToHost(0, num_bytes);
        }));
    if (rank() != root) std::memcpy(piece.data(), staging, num_bytes);
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::CheckPeer(absl::string_view what, int peer) {
  HEADWISE_RETURN_IF_ERROR(failure());
  if (peer >= 0 && peer < world_size() && peer != rank()) {
    return absl::OkStatus();
  }
  return Fail(absl::InvalidArgumentError(
      absl::StrCat(what, " rank ", peer, " by rank ", rank(), " of ",
                   world_size(), " ranks")));
}

absl::Status NcclGroup::Send(absl::Span<const uint8_t> data, int to) {
  HEADWISE_RETURN_IF_ERROR(CheckPeer("send to", to));
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<const uint8_t> piece = data.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    std::memcpy(communicator_->staging().data(), piece.data(), num_bytes);
    HEADWISE_RETURN_IF_ERROR(
        Run("send", spec_.options.timeout, [&]() -> absl::Status {
          HEADWISE_RETURN_IF_ERROR(communicator_->ToDevice(0, num_bytes));
          return communicator_->Send(0, num_bytes, to);
        }));
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::Receive(absl::Span<uint8_t> data, int from) {
  HEADWISE_RETURN_IF_ERROR(CheckPeer("receive from", from));
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<uint8_t> piece = data.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    HEADWISE_RETURN_IF_ERROR(
        Run("receive", spec_.options.timeout, [&]() -> absl::Status {
          HEADWISE_RETURN_IF_ERROR(communicator_->Receive(0, num_bytes, from));
          return communicator_->ToHost(0, num_bytes);
        }));
    std::memcpy(piece.data(), communicator_->staging().data(), num_bytes);
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::failure() {
  absl::MutexLock lock(&mutex_);
  return failure_;
}

// By the calling thread: the communicator is its own.
absl::Status NcclGroup::Fail(absl::Status reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (failure_.ok()) failure_ = std::move(reason);
  }
  if (!std::exchange(is_aborted_, true)) communicator_->Abort();
  return failure();
}

void NcclGroup::Abort(absl::Status reason) {
  if (reason.ok()) reason = absl::UnavailableError("the group was aborted");
  absl::MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = std::move(reason);
}

}  // namespace headwise
