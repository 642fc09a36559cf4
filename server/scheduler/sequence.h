// A request that runs: which rows it has sent, and what came back.

#ifndef HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_
#define HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/engine.h"

namespace headwise {

// When a request passed from one stage to the next; InfiniteFuture: not yet.
struct RequestTimes {
  absl::Time submitted = absl::InfiniteFuture();
  absl::Time admitted = absl::InfiniteFuture();
  absl::Time prompt_done = absl::InfiniteFuture();
};

struct WaitingRequest {
  EngineRequest request;
  RequestTimes times;
  int64_t prefix_len = 0;         // positions that it begins with, as a fork
  std::vector<int64_t> kv_bytes;  // what it needs, by rank
};

// Rows that are sent ("planned") run ahead of rows that came back ("done") by
// the slices in flight. Plain state, no thread, no clock.
class Sequence {
 public:
  Sequence(uint64_t id, uint64_t plan_id, uint64_t contrast_plan_id,
           WaitingRequest waiting);

  bool has_prompt_left() const { return planned_rows_ < prompt_len(); }
  // True if one more decode row may be sent: a sample precedes it and it will
  // not be one too many.
  bool can_decode() const;

  // What its first slice needs before it; nullopt if it is no fork.
  bool is_new() const { return planned_rows_ == 0; }
  std::optional<Fork> FirstFork() const;

  // The next `max_rows` >= 1 rows of the prompt. Requires has_prompt_left().
  Slice NextPrefillSlice(int64_t max_rows);
  // Requires can_decode().
  Slice NextDecodeSlice();

  // A slice came back; `ran`: the workers executed it.
  void OnSliceDone(bool ran);
  // Rows of the prompt came back.
  void OnPromptRowsDone(int64_t rows, absl::Time now);
  // A token came back. True if it is the last one.
  bool OnToken(int32_t token);

  RequestUsage Usage(absl::Time now) const;

  uint64_t id() const { return id_; }
  uint64_t plan_id() const { return plan_id_; }
  uint64_t contrast_plan_id() const { return contrast_plan_id_; }
  // Rows that each of its rows is run as.
  int64_t row_cost() const { return contrast_plan_id_ == 0 ? 1 : 2; }
  int64_t prefix_len() const { return waiting_.prefix_len; }
  const EngineRequest& request() const { return waiting_.request; }
  int64_t prompt_len() const {
    return static_cast<int64_t>(waiting_.request.prompt.size());
  }
  int64_t done_prompt_rows() const { return done_prompt_rows_; }
  int64_t slices_in_flight() const { return slices_in_flight_; }
  bool known_to_workers() const { return known_to_workers_; }

 private:
  uint64_t id_;
  uint64_t plan_id_;
  uint64_t contrast_plan_id_;  // 0: none
  WaitingRequest waiting_;
  int64_t planned_rows_ = 0;  // its own, after the prefix
  int64_t done_prompt_rows_ = 0;
  int64_t planned_samples_ = 0;
  int64_t done_samples_ = 0;
  int32_t last_token_ = 0;  // of sample done_samples_ - 1
  int64_t slices_in_flight_ = 0;
  bool known_to_workers_ = false;
};

// Usage of a request that never ran.
RequestUsage UsageOf(const WaitingRequest& waiting, absl::Time now);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_
