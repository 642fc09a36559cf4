#include "server/scheduler/free_queue.h"

#include <algorithm>
#include <utility>

namespace headwise {

bool FreeQueue::Add(uint64_t sequence_id, bool known_to_workers,
                    int64_t slices_in_flight) {
  if (known_to_workers) {
    ready_.push_back(sequence_id);
    return false;
  }
  if (slices_in_flight == 0) return true;
  unconfirmed_.emplace(sequence_id, slices_in_flight);
  return false;
}

bool FreeQueue::OnSlice(uint64_t sequence_id, bool ran) {
  const auto found = unconfirmed_.find(sequence_id);
  if (found == unconfirmed_.end()) return false;
  if (ran) {
    ready_.push_back(sequence_id);
    unconfirmed_.erase(found);
    return false;
  }
  if (--found->second > 0) return false;
  unconfirmed_.erase(found);
  return true;
}

FreeQueue::Batch FreeQueue::Take() {
  if (!retries_.empty()) {
    const uint64_t sequence_id = retries_.front();
    retries_.pop_front();
    return {.sequence_ids = {sequence_id}, .is_retry = true};
  }
  return {.sequence_ids = std::exchange(ready_, {}), .is_retry = false};
}

void FreeQueue::OnStepFailed(const Batch& batch) {
  if (batch.is_retry) return;
  retries_.insert(retries_.end(), batch.sequence_ids.begin(),
                  batch.sequence_ids.end());
}

bool FreeQueue::Holds(uint64_t sequence_id) const {
  const auto has = [sequence_id](const auto& ids) {
    return std::find(ids.begin(), ids.end(), sequence_id) != ids.end();
  };
  return has(ready_) || has(retries_) || unconfirmed_.contains(sequence_id);
}

}  // namespace headwise
