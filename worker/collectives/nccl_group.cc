#include "worker/collectives/nccl_group.h"

#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/collectives/call_checks.h"

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
  int64_t sum = spec.rank + 1;
  HEADWISE_RETURN_IF_ERROR(group->AllReduceSum(absl::MakeSpan(&sum, 1)));
  const int64_t wanted = int64_t{spec.world_size} * (spec.world_size + 1) / 2;
  if (sum == wanted) return group;
  return group->Fail(absl::DataLossError(
      absl::StrCat("rank ", spec.rank, " of ", spec.world_size,
                   " added up over NCCL to ", sum, " instead of ", wanted)));
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

absl::Status NcclGroup::SumOnDevice(int64_t* values, int64_t num_values) {
  HEADWISE_RETURN_IF_ERROR(StartCall());
  if (num_values == 0) return absl::OkStatus();
  return Run("all_reduce", spec_.options.timeout, [&]() -> absl::Status {
    return communicator_->SumOnDevice(values, num_values);
  });
}

absl::Status NcclGroup::StartCall(absl::Status arguments) {
  HEADWISE_RETURN_IF_ERROR(failure());
  return arguments.ok() ? arguments : Fail(std::move(arguments));
}

absl::Status NcclGroup::RunPiece(absl::string_view what,
                                 absl::Span<const uint8_t> in,
                                 const std::function<absl::Status()>& call,
                                 int64_t out, int64_t num_out) {
  const int64_t num_in = in.size();
  if (num_in > 0) {
    std::memcpy(communicator_->staging().data(), in.data(), num_in);
  }
  return Run(what, spec_.options.timeout, [&]() -> absl::Status {
    if (num_in > 0) {
      HEADWISE_RETURN_IF_ERROR(communicator_->ToDevice(0, num_in));
    }
    HEADWISE_RETURN_IF_ERROR(call());
    return num_out > 0 ? communicator_->ToHost(out, num_out) : absl::OkStatus();
  });
}

template <typename T>
absl::Status NcclGroup::AllReduce(NcclType type, absl::Span<T> values) {
  HEADWISE_RETURN_IF_ERROR(StartCall());
  const absl::Span<uint8_t> bytes(reinterpret_cast<uint8_t*>(values.data()),
                                  values.size() * sizeof(T));
  for (size_t begin = 0; begin < bytes.size(); begin += piece_bytes()) {
    const absl::Span<uint8_t> piece = bytes.subspan(begin, piece_bytes());
    const auto call = [&] {
      return communicator_->AllReduceSum(type, 0, piece.size() / sizeof(T));
    };
    HEADWISE_RETURN_IF_ERROR(
        RunPiece("all_reduce", piece, call, 0, piece.size()));
    std::memcpy(piece.data(), communicator_->staging().data(), piece.size());
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::AllGather(absl::Span<const uint8_t> mine,
                                  absl::Span<uint8_t> all) {
  HEADWISE_RETURN_IF_ERROR(
      StartCall(CheckGather(*this, mine.size(), all.size())));
  const int64_t to = piece_bytes();
  for (size_t begin = 0; begin < mine.size(); begin += piece_bytes()) {
    const absl::Span<const uint8_t> piece = mine.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    const auto call = [&] {
      return communicator_->AllGather(0, num_bytes, to);
    };
    HEADWISE_RETURN_IF_ERROR(
        RunPiece("all_gather", piece, call, to, num_bytes * world_size()));
    const uint8_t* gathered = communicator_->staging().data() + to;
    for (int r = 0; r < world_size(); ++r) {
      std::memcpy(all.data() + r * mine.size() + begin,
                  gathered + r * num_bytes, num_bytes);
    }
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::Broadcast(absl::Span<uint8_t> data, int root) {
  HEADWISE_RETURN_IF_ERROR(StartCall(CheckRoot(*this, root)));
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<uint8_t> piece = data.subspan(begin, piece_bytes());
    const int64_t num_bytes = piece.size();
    const auto call = [&] {
      return communicator_->Broadcast(0, num_bytes, root);
    };
    if (rank() == root) {
      HEADWISE_RETURN_IF_ERROR(RunPiece("broadcast", piece, call, 0, 0));
      continue;
    }
    HEADWISE_RETURN_IF_ERROR(RunPiece("broadcast", {}, call, 0, num_bytes));
    std::memcpy(piece.data(), communicator_->staging().data(), num_bytes);
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::Send(absl::Span<const uint8_t> data, int to) {
  HEADWISE_RETURN_IF_ERROR(StartCall(CheckPeer(*this, "send to", to)));
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<const uint8_t> piece = data.subspan(begin, piece_bytes());
    const auto call = [&] { return communicator_->Send(0, piece.size(), to); };
    HEADWISE_RETURN_IF_ERROR(RunPiece("send", piece, call, 0, 0));
  }
  return absl::OkStatus();
}

absl::Status NcclGroup::Receive(absl::Span<uint8_t> data, int from) {
  HEADWISE_RETURN_IF_ERROR(StartCall(CheckPeer(*this, "receive from", from)));
  for (size_t begin = 0; begin < data.size(); begin += piece_bytes()) {
    const absl::Span<uint8_t> piece = data.subspan(begin, piece_bytes());
    const auto call = [&] {
      return communicator_->Receive(0, piece.size(), from);
    };
    HEADWISE_RETURN_IF_ERROR(RunPiece("receive", {}, call, 0, piece.size()));
    std::memcpy(piece.data(), communicator_->staging().data(), piece.size());
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
