#include "worker/collectives/gloo_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/call_checks.h"
#include "worker/collectives/shard.h"
#include "worker/collectives/sum_parts.h"

namespace headwise {
namespace {

// Up to here a second round trip costs more than the bytes that it saves.
constexpr int64_t kMaxDirectBytes = int64_t{32} << 10;
// Bounds the memory for what peers send, to world_size times this.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// What a rank says first on each connection, in host byte order: Gloo does not
// cross byte orders either.
struct Greeting {
  uint64_t magic = 0x33676f6f6c677768;  // "hwgloog3"
  uint64_t membership_epoch = 0;
  int32_t rank = 0;
  int32_t world_size = 0;

  bool operator==(const Greeting&) const = default;
};
static_assert(sizeof(Greeting) == 24);

}  // namespace

GlooGroup::GlooGroup(const GroupSpec& spec,
                     std::shared_ptr<GlooTransport> transport)
    : member_(spec, std::move(transport)),
      sent_(spec.world_size),
      received_(spec.world_size) {}

absl::Status GlooGroup::AllReduceSum(absl::Span<int64_t> values) {
  return Finish(AllReduce(values, Call::kAllReduceInt64));
}

absl::Status GlooGroup::AllReduceSum(absl::Span<float> values) {
  return Finish(AllReduce(values, Call::kAllReduceFloat));
}

absl::Status GlooGroup::AllGather(absl::Span<const uint8_t> mine,
                                  absl::Span<uint8_t> all) {
  return Finish(Gather(mine, all));
}

absl::Status GlooGroup::Broadcast(absl::Span<uint8_t> data, int root) {
  return Finish(BroadcastFrom(data, root));
}

absl::Status GlooGroup::Send(absl::Span<const uint8_t> data, int to) {
  return Finish(SendTo(data, to));
}

absl::Status GlooGroup::Receive(absl::Span<uint8_t> data, int from) {
  return Finish(ReceiveFrom(data, from));
}

template <typename T>
absl::Status GlooGroup::AllReduce(absl::Span<T> values, Call call) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  if (world_size() == 1) return absl::OkStatus();
  constexpr size_t kPiece = kPieceBytes / sizeof(T);
  const int64_t num_bytes = values.size() * sizeof(T);
  for (size_t begin = 0; begin < values.size(); begin += kPiece) {
    const absl::Span<T> piece = values.subspan(begin, kPiece);
    if (world_size() == 2 || num_bytes <= kMaxDirectBytes) {
      const uint64_t slot = Slot(call, num_exchanges_++, num_bytes);
      HEADWISE_RETURN_IF_ERROR(AllReduceDirect(piece, slot));
    } else {
      HEADWISE_RETURN_IF_ERROR(AllReduceScattered(piece, call));
    }
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status GlooGroup::AllReduceDirect(absl::Span<T> values, uint64_t slot) {
  const int64_t num_bytes = values.size() * sizeof(T);
  scratch_.resize(num_bytes * (world_size() - 1));
  std::vector<Transfer> transfers;
  uint8_t* space = scratch_.data();
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    transfers.push_back(
        {.peer = peer,
         .send = reinterpret_cast<const uint8_t*>(values.data()),
         .num_bytes = num_bytes});
    transfers.push_back(
        {.peer = peer, .receive = space, .num_bytes = num_bytes});
    space += num_bytes;
  }
  HEADWISE_RETURN_IF_ERROR(member_.Exchange(transfers, slot));
  SumScratch(values.size(), values.data());
  return absl::OkStatus();
}

template <typename T>
absl::Status GlooGroup::AllReduceScattered(absl::Span<T> values, Call call) {
  const int64_t num_values = values.size();
  const auto shard_of = [&](int r) {
    return ShardOf<T>(r, world_size(), num_values);
  };
  const auto bytes_at = [&](int64_t i) {
    return reinterpret_cast<uint8_t*>(values.data() + i);
  };
  const Shard mine = shard_of(rank());
  const int64_t my_bytes = mine.size() * sizeof(T);
  scratch_.resize(my_bytes * (world_size() - 1));

  std::vector<Transfer> scatter;
  std::vector<Transfer> collect;
  uint8_t* space = scratch_.data();
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const Shard theirs = shard_of(peer);
    const int64_t their_bytes = theirs.size() * sizeof(T);
    uint8_t* their_values = bytes_at(theirs.begin);
    scatter.push_back(
        {.peer = peer, .send = their_values, .num_bytes = their_bytes});
    scatter.push_back({.peer = peer, .receive = space, .num_bytes = my_bytes});
    collect.push_back(
        {.peer = peer, .send = bytes_at(mine.begin), .num_bytes = my_bytes});
    collect.push_back(
        {.peer = peer, .receive = their_values, .num_bytes = their_bytes});
    space += my_bytes;
  }
  const int64_t num_bytes = num_values * sizeof(T);
  HEADWISE_RETURN_IF_ERROR(
      member_.Exchange(scatter, Slot(call, num_exchanges_++, num_bytes)));
  SumScratch(mine.size(), values.data() + mine.begin);
  return member_.Exchange(collect, Slot(call, num_exchanges_++, num_bytes));
}

template <typename T>
void GlooGroup::SumScratch(int64_t num_values, T* mine) {
  std::vector<const T*> parts;
  const T* space = reinterpret_cast<const T*>(scratch_.data());
  for (int r = 0; r < world_size(); ++r) {
    parts.push_back(r == rank() ? mine : space);
    if (r != rank()) space += num_values;
  }
  SumParts(parts, num_values, mine);
}

absl::Status GlooGroup::Gather(absl::Span<const uint8_t> mine,
                               absl::Span<uint8_t> all) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  const int64_t num_bytes = mine.size();
  HEADWISE_RETURN_IF_ERROR(CheckGather(*this, mine.size(), all.size()));
  std::vector<Transfer> transfers;
  for (int r = 0; r < world_size(); ++r) {
    uint8_t* place = all.data() + r * num_bytes;
    if (r == rank()) {
      std::copy(mine.begin(), mine.end(), place);
      continue;
    }
    transfers.push_back(
        {.peer = r, .send = mine.data(), .num_bytes = num_bytes});
    transfers.push_back({.peer = r, .receive = place, .num_bytes = num_bytes});
  }
  return member_.Exchange(transfers,
                          Slot(Call::kAllGather, num_exchanges_++, num_bytes));
}

absl::Status GlooGroup::BroadcastFrom(absl::Span<uint8_t> data, int root) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  const int64_t num_bytes = data.size();
  HEADWISE_RETURN_IF_ERROR(CheckRoot(*this, root));
  std::vector<Transfer> transfers;
  if (rank() != root) {
    transfers.push_back(
        {.peer = root, .receive = data.data(), .num_bytes = num_bytes});
  } else {
    for (int peer = 0; peer < world_size(); ++peer) {
      if (peer == root) continue;
      transfers.push_back(
          {.peer = peer, .send = data.data(), .num_bytes = num_bytes});
    }
  }
  return member_.Exchange(transfers,
                          Slot(Call::kBroadcast, num_exchanges_++, num_bytes));
}

absl::Status GlooGroup::SendTo(absl::Span<const uint8_t> data, int to) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckPeer(*this, "send to", to));
  const int64_t num_bytes = data.size();
  return member_.Exchange(
      {{.peer = to, .send = data.data(), .num_bytes = num_bytes}},
      Slot(Call::kPair, sent_[to]++, num_bytes));
}

absl::Status GlooGroup::ReceiveFrom(absl::Span<uint8_t> data, int from) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckPeer(*this, "receive from", from));
  const int64_t num_bytes = data.size();
  return member_.Exchange(
      {{.peer = from, .receive = data.data(), .num_bytes = num_bytes}},
      Slot(Call::kPair, received_[from]++, num_bytes));
}

absl::Status GlooGroup::Greet() {
  const auto greeting_of = [this](int r) {
    return Greeting{.membership_epoch = membership_epoch(),
                    .rank = r,
                    .world_size = world_size()};
  };
  const Greeting mine = greeting_of(rank());
  std::vector<Greeting> all(world_size());
  HEADWISE_RETURN_IF_ERROR(AllGather(
      {reinterpret_cast<const uint8_t*>(&mine), sizeof(mine)},
      {reinterpret_cast<uint8_t*>(all.data()), all.size() * sizeof(Greeting)}));
  for (int r = 0; r < world_size(); ++r) {
    if (all[r] == greeting_of(r)) continue;
    return member_.Fail(absl::FailedPreconditionError(absl::StrCat(
        "who answers as rank ", r, " says that it is rank ", all[r].rank,
        " of ", all[r].world_size, " in epoch ", all[r].membership_epoch)));
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::Finish(absl::Status status) {
  return status.ok() ? status : member_.Fail(std::move(status));
}

void GlooGroup::Abort(absl::Status reason) {
  if (reason.ok()) reason = absl::UnavailableError("the group was aborted");
  member_.Fail(std::move(reason)).IgnoreError();
}

}  // namespace headwise
