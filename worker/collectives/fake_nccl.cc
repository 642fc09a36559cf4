#include "worker/collectives/fake_nccl.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {

class FakeNccl::Communicator final : public NcclCommunicator {
 public:
  Communicator(FakeNccl& nccl, int rank, int version,
               absl::Span<uint8_t> staging)
      : nccl_(nccl), rank_(rank), version_(version), staging_(staging) {}
  ~Communicator() override { nccl_.Abort(rank_); }

  absl::StatusOr<int> Version() override {
    const absl::Status status = nccl_.Call(rank_, {"Version"}, false);
    if (!status.ok()) return status;
    return version_;
  }
  absl::StatusOr<NcclId> CreateId() override {
    const absl::Status status = nccl_.Call(rank_, {"CreateId"}, false);
    if (!status.ok()) return status;
    return NcclId{1, 2, 0xff};
  }
  absl::Status Init(const NcclId& id, int rank, int world_size) override {
    HEADWISE_CHECK((id == NcclId{1, 2, 0xff}) && rank == rank_);
    return nccl_.Call(rank_, {"Init", 0, 0, world_size});
  }
  absl::Span<uint8_t> staging() override { return staging_; }
  absl::Status ToDevice(int64_t begin, int64_t num_bytes) override {
    return nccl_.Call(rank_, {"ToDevice", begin, num_bytes});
  }
  absl::Status ToHost(int64_t begin, int64_t num_bytes) override {
    return nccl_.Call(rank_, {"ToHost", begin, num_bytes});
  }
  absl::Status AllReduceSum(NcclType type, int64_t begin,
                            int64_t num_values) override {
    const int64_t size = type == NcclType::kInt64 ? 8 : 4;
    return nccl_.Call(rank_, {"AllReduceSum", begin, num_values * size, size});
  }
  absl::Status SumOnDevice(int64_t* values, int64_t num_values) override {
    return nccl_.Call(rank_, {.name = "AllReduceSum",
                              .num_bytes = num_values * 8,
                              .argument = 8,
                              .memory = reinterpret_cast<uint8_t*>(values)});
  }
  absl::Status AllGather(int64_t begin, int64_t num_bytes,
                         int64_t to) override {
    return nccl_.Call(rank_, {"AllGather", begin, num_bytes, to});
  }
  absl::Status Broadcast(int64_t begin, int64_t num_bytes, int root) override {
    return nccl_.Call(rank_, {"Broadcast", begin, num_bytes, root});
  }
  absl::Status Send(int64_t begin, int64_t num_bytes, int to) override {
    return nccl_.Call(rank_, {"Send", begin, num_bytes, to});
  }
  absl::Status Receive(int64_t begin, int64_t num_bytes, int from) override {
    return nccl_.Call(rank_, {"Receive", begin, num_bytes, from});
  }
  absl::StatusOr<bool> Poll() override { return nccl_.Poll(rank_); }
  void Abort() override { nccl_.Abort(rank_); }

 private:
  FakeNccl& nccl_;
  const int rank_;
  const int version_;
  const absl::Span<uint8_t> staging_;
};

FakeNccl::FakeNccl(int world_size, int64_t staging_bytes, const Plan& plan)
    : plan_(plan), ranks_(world_size) {
  for (Rank& rank : ranks_) {
    rank.host.resize(staging_bytes);
    rank.device.resize(staging_bytes);
  }
}

std::unique_ptr<NcclCommunicator> FakeNccl::Open(int rank, int version) {
  absl::MutexLock lock(&mutex_);
  return std::make_unique<Communicator>(*this, rank, version,
                                        absl::MakeSpan(ranks_[rank].host));
}

std::vector<std::string> FakeNccl::calls(int rank) const {
  absl::MutexLock lock(&mutex_);
  return ranks_[rank].calls;
}

int FakeNccl::misuses() const {
  absl::MutexLock lock(&mutex_);
  return misuses_;
}

// Whether it is the call that fails.
bool FakeNccl::CountCall(int rank, const std::string& name) {
  Rank& mine = ranks_[rank];
  if (mine.is_over) ++misuses_;
  mine.calls.push_back(name);
  return plan_.failure != Failure::kNone && plan_.rank == rank &&
         plan_.call == static_cast<int>(mine.calls.size());
}

absl::Status FakeNccl::Call(int rank, Operation operation, bool is_enqueued) {
  absl::MutexLock lock(&mutex_);
  Rank& mine = ranks_[rank];
  const bool fails = CountCall(rank, operation.name);
  // A call that begins nothing can fail at once only.
  if (fails && (plan_.failure == Failure::kAtOnce || !is_enqueued)) {
    mine.is_over = true;
    return absl::InternalError(absl::StrCat(operation.name, " failed"));
  }
  if (!is_enqueued) return absl::OkStatus();
  mine.fails_later |= fails && plan_.failure == Failure::kLater;
  operation.never_ends = fails && plan_.failure == Failure::kNever;
  operation.is_wrong = fails && plan_.failure == Failure::kWrong;
  mine.queue.push_back(std::move(operation));
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeNccl::Poll(int rank) {
  absl::MutexLock lock(&mutex_);
  Rank& mine = ranks_[rank];
  if (mine.is_over) ++misuses_;
  if (mine.fails_later) {
    mine.is_over = true;
    return absl::UnavailableError(
        absl::StrCat(mine.calls.back(), " failed after it had begun"));
  }
  Advance();
  return mine.queue.empty();
}

void FakeNccl::Abort(int rank) {
  absl::MutexLock lock(&mutex_);
  Rank& mine = ranks_[rank];
  mine.calls.push_back("Abort");
  mine.is_over = true;
  mine.queue.clear();
}

void FakeNccl::Advance() {
  bool has_moved = true;
  while (has_moved) {
    has_moved = Collects();
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      has_moved |= Copies(ranks_[rank]) || Delivers(rank);
    }
  }
}

bool FakeNccl::Copies(Rank& rank) {
  if (rank.queue.empty() || rank.queue.front().never_ends) return false;
  const Operation& next = rank.queue.front();
  if (next.name == "ToDevice") {
    std::memcpy(rank.device.data() + next.begin, rank.host.data() + next.begin,
                next.num_bytes);
  } else if (next.name == "ToHost") {
    std::memcpy(rank.host.data() + next.begin, rank.device.data() + next.begin,
                next.num_bytes);
  } else {
    return false;
  }
  rank.queue.pop_front();
  return true;
}

bool FakeNccl::Delivers(int from) {
  Rank& sender = ranks_[from];
  if (sender.queue.empty() || sender.queue.front().name != "Send") return false;
  const Operation send = sender.queue.front();
  Rank& receiver = ranks_[send.argument];
  if (receiver.queue.empty() || send.never_ends) return false;
  const Operation receive = receiver.queue.front();
  if (receive.name != "Receive" || receive.never_ends ||
      receive.argument != from || receive.num_bytes != send.num_bytes) {
    return false;
  }
  std::memcpy(receiver.device.data() + receive.begin,
              sender.device.data() + send.begin, send.num_bytes);
  sender.queue.pop_front();
  receiver.queue.pop_front();
  return true;
}

bool FakeNccl::Collects() {
  for (const Rank& rank : ranks_) {
    if (rank.queue.empty() || rank.queue.front().never_ends ||
        !rank.queue.front().IsSameAs(ranks_[0].queue.front())) {
      return false;
    }
  }
  const Operation next = ranks_[0].queue.front();
  if (next.name != "Init" && next.name != "AllReduceSum" &&
      next.name != "AllGather" && next.name != "Broadcast") {
    return false;
  }
  Execute(next);
  for (Rank& rank : ranks_) rank.queue.pop_front();
  return true;
}

void FakeNccl::Execute(const Operation& operation) {
  if (operation.name == "AllReduceSum") {
    operation.argument == 8 ? Sum<uint64_t>(operation) : Sum<float>(operation);
  }
  for (Rank& to : ranks_) {
    if (operation.name == "Broadcast") {
      std::memmove(to.device.data() + operation.begin,
                   ranks_[operation.argument].device.data() + operation.begin,
                   operation.num_bytes);
    }
    if (operation.name != "AllGather") continue;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      std::memcpy(
          to.device.data() + operation.argument + r * operation.num_bytes,
          ranks_[r].device.data() + operation.begin, operation.num_bytes);
    }
  }
}

template <typename T>
void FakeNccl::Sum(const Operation& operation) {
  std::vector<uint8_t*> of_rank;
  T error = 0;
  for (Rank& rank : ranks_) {
    uint8_t* const memory = rank.queue.front().memory;
    if (rank.queue.front().is_wrong) error = 1;
    of_rank.push_back(memory != nullptr ? memory
                                        : rank.device.data() + operation.begin);
  }
  for (int64_t at = 0; at < operation.num_bytes; at += sizeof(T)) {
    T sum = error;
    for (const uint8_t* memory : of_rank) {
      T value;
      std::memcpy(&value, memory + at, sizeof(T));
      sum += value;
    }
    for (uint8_t* memory : of_rank) std::memcpy(memory + at, &sum, sizeof(T));
  }
}

}  // namespace headwise
