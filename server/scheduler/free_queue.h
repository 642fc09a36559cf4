// Ended sequences that the workers still have to forget.

#ifndef HEADWISE_SERVER_SCHEDULER_FREE_QUEUE_H_
#define HEADWISE_SERVER_SCHEDULER_FREE_QUEUE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace headwise {

// Workers need not accept the free of a sequence that they do not know, and
// with it would go the whole step. So an id goes out only once some slice of
// its sequence has run; while its first slices are in flight it waits for them.
// Later slices may still be in flight: steps run in order, and a step frees
// before its slices.
class FreeQueue {
 public:
  // The frees of one step.
  struct Batch {
    std::vector<uint64_t> sequence_ids;
    // An id that was in a failed step is tried once more in a step of its own
    // without slices, so that it can harm nobody.
    bool is_retry = false;
  };

  // The sequence has ended with `slices_in_flight`. Returns true if the workers
  // do not and will not know it: nothing to free.
  bool Add(uint64_t sequence_id, bool known_to_workers,
           int64_t slices_in_flight);
  // A slice of an ended sequence came back. Returns true if it was the last one
  // in flight and none has run: nothing to free.
  bool OnSlice(uint64_t sequence_id, bool ran);

  // What the next step must free; empty if nothing.
  Batch Take();
  // The step with `batch` changed nothing. An id that failed alone is dropped.
  void OnStepFailed(const Batch& batch);

  // The sequence has ended, and no step has freed it yet.
  bool Holds(uint64_t sequence_id) const;

  bool empty() const {
    return ready_.empty() && retries_.empty() && unconfirmed_.empty();
  }

 private:
  std::vector<uint64_t> ready_;
  std::deque<uint64_t> retries_;
  std::map<uint64_t, int64_t> unconfirmed_;  // -> slices in flight
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_FREE_QUEUE_H_
