// The part of the scheduler that gives the memory of prefixes to others.

#include <algorithm>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

bool IsWithin(const std::vector<int64_t>& bytes,
              const std::vector<int64_t>& limit) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] > limit[i]) return false;
  }
  return true;
}

}  // namespace

std::vector<int64_t> Scheduler::NeedOf(const WaitingRequest& waiting) const {
  std::vector<int64_t> bytes = waiting.kv_bytes;
  if (waiting.request.fork_from == 0) return bytes;
  for (const uint64_t id : held_.ChainOf(waiting.request.fork_from)) {
    if (!kv_.Has(id)) bytes = SumByRank(std::move(bytes), BytesOf(id));
  }
  return bytes;
}

std::vector<uint64_t> Scheduler::EvictableFor(
    const std::vector<uint64_t>& ids) const {
  return held_.Evictable([this, &ids](uint64_t fork_id) {
    if (std::find(ids.begin(), ids.end(), fork_id) != ids.end()) return false;
    if (waiting_.contains(fork_id)) return true;
    return held_.Has(fork_id) && !kv_.Has(fork_id);
  });
}

bool Scheduler::MakeRoom(bool of_background, const std::vector<int64_t>& bytes,
                         const std::vector<uint64_t>& ids, SentStep& sent) {
  if (kv_.Fits(bytes)) return true;
  std::vector<uint64_t> preemptible;
  if (!of_background) preemptible = Preemptible();
  const std::vector<uint64_t> evictable = EvictableFor(ids);
  std::vector<int64_t> room = kv_.capacity();
  for (size_t rank = 0; rank < room.size(); ++rank) {
    room[rank] -= kv_.used()[rank];
  }
  for (const uint64_t id : evictable) {
    room = SumByRank(std::move(room), kv_.Reserved(id));
  }
  for (const uint64_t id : preemptible) {
    room = SumByRank(std::move(room), kv_.Reserved(id));
  }
  if (!IsWithin(bytes, room)) return false;
  for (const uint64_t id : evictable) {
    if (kv_.Fits(bytes)) return true;
    Evict(id, sent);
  }
  for (const uint64_t id : preemptible) {
    if (kv_.Fits(bytes)) return true;
    Preempt(id, sent);
  }
  return true;
}

bool Scheduler::FitsBesidePrefixes(uint64_t id,
                                   const WaitingRequest& waiting) const {
  std::vector<uint64_t> gone =
      held_.Evictable([id](uint64_t fork_id) { return fork_id != id; });
  std::sort(gone.begin(), gone.end());
  std::vector<uint64_t> chain;
  if (const uint64_t origin = waiting.request.fork_from; origin != 0) {
    chain = held_.ChainOf(origin);
  }
  std::vector<int64_t> bytes = NeedOf(waiting);
  for (const uint64_t prefix_id : held_.ids()) {
    if (!kv_.Has(prefix_id) ||
        std::binary_search(gone.begin(), gone.end(), prefix_id)) {
      continue;
    }
    // One that is run again for others goes after them.
    if (held_.At(prefix_id).place == PrefixPlace::kLost &&
        std::find(chain.begin(), chain.end(), prefix_id) == chain.end()) {
      continue;
    }
    bytes = SumByRank(std::move(bytes), kv_.Reserved(prefix_id));
  }
  return IsWithin(bytes, kv_.capacity());
}

void Scheduler::EvictIdle(SentStep& sent) {
  if (!std::exchange(look_for_idle_, false) ||
      held_.num_held() <= kMaxIdlePrefixes) {
    return;
  }
  const std::vector<uint64_t> idle =
      held_.Evictable([](uint64_t) { return false; });
  const auto num_idle = static_cast<int64_t>(idle.size());
  for (int64_t i = 0; i < num_idle - kMaxIdlePrefixes; ++i) {
    Evict(idle[static_cast<size_t>(i)], sent);
  }
}

void Scheduler::Evict(uint64_t prefix_id, SentStep& sent) {
  for (const uint64_t id : held_.InMemoryAfter(prefix_id)) Evict(id, sent);
  // It may have gone with the last that began with it.
  if (!held_.Has(prefix_id) ||
      held_.At(prefix_id).place != PrefixPlace::kMemory) {
    return;
  }
  if (held_.IsWhole(prefix_id)) held_.TakeTokensOfOrigin(prefix_id);
  held_.SetPlace(prefix_id, PrefixPlace::kLost, {});
  frees_.Add(prefix_id, /*known_to_workers=*/true, /*slices_in_flight=*/0);
  ++evictions_total_;
  TakeFrees(sent);
}

}  // namespace headwise
