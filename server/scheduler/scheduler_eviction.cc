// The part of the scheduler that gives the memory of idle prefixes to others.

#include <algorithm>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

void Add(const std::vector<int64_t>& from, std::vector<int64_t>* to) {
  for (size_t i = 0; i < from.size(); ++i) (*to)[i] += from[i];
}

bool IsWithin(const std::vector<int64_t>& bytes,
              const std::vector<int64_t>& limit) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] > limit[i]) return false;
  }
  return true;
}

}  // namespace

std::vector<int64_t> Scheduler::NeedOf(uint64_t id,
                                       const WaitingRequest& waiting) const {
  std::vector<int64_t> bytes = waiting.kv_bytes;
  const WaitingRequest* last = &waiting;
  while (last->is_restore()) {
    const auto fork =
        std::find_if(waiting_.begin(), waiting_.end(), [id](const auto& other) {
          return other.second.request.fork_from == id;
        });
    if (fork == waiting_.end()) break;
    id = fork->first;
    last = &fork->second;
    Add(last->kv_bytes, &bytes);
  }
  return bytes;
}

std::vector<int64_t> Scheduler::WantedBytes(
    const std::vector<int64_t>& available, absl::Time now) const {
  std::vector<int64_t> wanted(available.size(), 0);
  int64_t places = max_running_ - static_cast<int64_t>(running_.size());
  for (const uint64_t id : WaitingInOrder(/*of_background=*/false, now)) {
    const WaitingRequest& waiting = waiting_.at(id);
    if (!MayBegin(waiting) || !QuotaAllows(waiting)) continue;
    if (places-- == 0) break;
    std::vector<int64_t> more = wanted;
    Add(NeedOf(id, waiting), &more);
    if (!IsWithin(more, available)) break;
    wanted = std::move(more);
  }
  return wanted;
}

std::vector<int64_t> Scheduler::EvictableBytes(uint64_t prefix_id) const {
  std::vector<int64_t> bytes(kv_.capacity().size(), 0);
  for (const uint64_t id : held_.GoWith(prefix_id)) {
    const std::vector<int64_t> reserved = kv_.Reserved(id);
    if (!reserved.empty()) Add(reserved, &bytes);
  }
  return bytes;
}

bool Scheduler::EvictForWaiting(absl::Time now) {
  if (!std::exchange(look_for_idle_, false)) return false;
  std::vector<uint64_t> evictable = held_.Evictable();
  if (evictable.empty()) return false;
  std::vector<int64_t> free = kv_.capacity();
  for (size_t rank = 0; rank < free.size(); ++rank) {
    free[rank] -= kv_.used()[rank];
  }
  std::vector<int64_t> available = free;
  for (const uint64_t id : evictable) Add(EvictableBytes(id), &available);
  const std::vector<int64_t> wanted = WantedBytes(available, now);
  const int64_t num_idle = static_cast<int64_t>(evictable.size());
  int64_t num_evicted = 0;
  for (const uint64_t id : evictable) {
    if (IsWithin(wanted, free) && num_idle - num_evicted <= kMaxIdlePrefixes) {
      break;
    }
    Add(EvictableBytes(id), &free);
    Evict(id);
    ++num_evicted;
  }
  return num_evicted > 0;
}

void Scheduler::Evict(uint64_t prefix_id) {
  held_.TakeTokensOfOrigin(prefix_id);
  held_.SetPlace(prefix_id, PrefixPlace::kLost, {});
  frees_.Add(prefix_id, /*known_to_workers=*/true, /*slices_in_flight=*/0);
  ++evictions_total_;
}

}  // namespace headwise
