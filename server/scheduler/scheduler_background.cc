// The part of the scheduler that has requests in the background give way.

#include <algorithm>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace headwise {

// One alone may, however large it is.
bool Scheduler::MayRunInBackground(const WaitingRequest& waiting) const {
  if (running_.empty()) return true;
  if (static_cast<int64_t>(running_.size()) >= max_running_ / 2) return false;
  const std::vector<int64_t> needed = SumByRank(NeedOf(waiting), kv_.used());
  for (size_t rank = 0; rank < needed.size(); ++rank) {
    if (needed[rank] > kv_.capacity()[rank] / 2) return false;
  }
  return true;
}

void Scheduler::PromoteOldest(absl::Time now) {
  for (const auto& [id, waiting] : waiting_) {
    if (waiting.is_promoted) return;
  }
  for (const auto& [id, sequence] : running_) {
    if (sequence.is_promoted() && !sequence.is_restore()) return;
  }
  const absl::Time came_before = now - kBackgroundPatience;
  const auto running = std::find_if(
      running_.begin(), running_.end(), [came_before](const auto& entry) {
        return entry.second.is_background() && !entry.second.is_restore() &&
               entry.second.submitted() <= came_before;
      });
  const auto waiting = std::find_if(
      waiting_.begin(), waiting_.end(), [came_before](const auto& entry) {
        return entry.second.is_background() &&
               entry.second.times.submitted <= came_before;
      });
  if (running != running_.end() &&
      (waiting == waiting_.end() || running->first < waiting->first)) {
    running->second.Promote();
  } else if (waiting != waiting_.end()) {
    waiting->second.is_promoted = true;
  }
}

void Scheduler::PromoteRestores(const WaitingRequest& waiting) {
  for (const uint64_t id : held_.ChainOf(waiting.request.fork_from)) {
    const auto running = running_.find(id);
    if (running != running_.end()) running->second.Promote();
  }
}

// A fork would lose its prefix, and a step that has rows of a sequence can't be
// taken back.
std::vector<uint64_t> Scheduler::Preemptible() const {
  std::vector<uint64_t> ids;
  for (auto running = running_.rbegin(); running != running_.rend();
       ++running) {
    const Sequence& sequence = running->second;
    if (sequence.is_background() && sequence.request().fork_from == 0 &&
        !sequence.is_restore() && sequence.slices_in_flight() == 0) {
      ids.push_back(running->first);
    }
  }
  return ids;
}

void Scheduler::Preempt(uint64_t id, SentStep& sent) {
  const auto running = running_.find(id);
  Sequence sequence = std::move(running->second);
  running_.erase(running);
  std::vector<int64_t> kv_bytes = kv_.Reserved(id);
  ForgetRunning(sequence);
  TakeFrees(sent);
  WaitingRequest waiting = sequence.Release();
  waiting.kv_bytes = std::move(kv_bytes);
  waiting_.emplace(id, std::move(waiting));
  ++preemptions_total_;
}

}  // namespace headwise
