// A request that runs: which rows it has sent, and what came back.

#ifndef HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_
#define HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
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

// What the sink of a request has heard. It outlives the group of workers that
// computed it, and with the request's tokens it is all that a rebuild needs.
struct RequestProgress {
  int64_t prompt_rows = 0;         // whose outcomes came
  std::vector<int32_t> generated;  // kGenerate: tokens that came
  // Groups that were lost while it ran, since it last came further.
  int num_losses = 0;
};

struct WaitingRequest {
  EngineRequest request;
  RequestTimes times;
  int64_t prefix_len = 0;         // positions that it begins with, as a fork
  std::vector<int64_t> kv_bytes;  // what it needs, by rank
  double prompt_cost = 0;         // of all its prompt's rows (RowCosts)
  RequestProgress progress;
  bool is_promoted = false;  // from the background

  bool is_background() const { return request.is_background && !is_promoted; }

  int64_t prompt_len() const {
    return static_cast<int64_t>(request.prompt.size());
  }
  // Rows of its own whose outcomes came: after a loss they run again, unheard.
  int64_t heard_rows() const;
  // It runs a held prefix again that a lost group took along; has no sink.
  bool is_restore() const {
    return request.kind == WorkKind::kPrefix &&
           progress.prompt_rows == prompt_len();
  }
};

// Rows that are sent ("planned") run ahead of rows that came back ("done") by
// the slices in flight. A request that ran in an earlier group begins with a
// replay of the rows that its sink has heard of; their slices ask for nothing.
// Plain state, no thread, no clock.
class Sequence {
 public:
  Sequence(uint64_t id, uint64_t plan_id, uint64_t contrast_plan_id,
           WaitingRequest waiting);

  // Of the prompt or of a replay.
  bool has_prompt_left() const { return planned_rows_ < prompt_rows(); }
  int64_t prompt_rows_left() const { return prompt_rows() - planned_rows_; }
  int64_t prompt_rows() const { return std::max(prompt_len(), replay_rows_); }
  // Of its next row.
  int64_t next_position() const { return prefix_len() + planned_rows_; }
  // The next slice will be one of a replay.
  bool is_replaying() const { return planned_rows_ < replay_rows_; }
  // True if one more decode row may be sent: a sample precedes it and it will
  // not be one too many.
  bool can_decode() const;

  // What its first slice needs before it; nullopt if it is no fork.
  bool is_new() const { return planned_rows_ == 0; }
  std::optional<Fork> FirstFork() const;

  // The next `max_rows` >= 1 rows of the prompt, or of the replay. Requires
  // has_prompt_left().
  Slice NextPrefillSlice(int64_t max_rows);
  // Requires can_decode().
  Slice NextDecodeSlice();

  // The step that its latest decode row is in; 0: none yet.
  void OnDecode(uint64_t step_id) { last_decode_step_ = step_id; }
  uint64_t last_decode_step() const { return last_decode_step_; }

  // A slice came back; `ran`: the workers executed it.
  void OnSliceDone(bool ran);
  // Rows of a replay came back. True if they were a restore's last ones.
  bool OnReplayedRows(int64_t rows, absl::Time now);
  // Rows of the prompt came back.
  void OnPromptRowsDone(int64_t rows, absl::Time now);
  // A token came back. True if it is the last one.
  bool OnToken(int32_t token);

  RequestUsage Usage(absl::Time now) const;

  // The request with what came of it, to run again in another group or to be
  // held. The sequence is of no use afterwards.
  WaitingRequest Release() { return std::move(waiting_); }

  uint64_t id() const { return id_; }
  uint64_t plan_id() const { return plan_id_; }
  uint64_t contrast_plan_id() const { return contrast_plan_id_; }
  // Rows that each of its rows is run as.
  int64_t row_cost() const { return contrast_plan_id_ == 0 ? 1 : 2; }
  int64_t prefix_len() const { return waiting_.prefix_len; }
  const EngineRequest& request() const { return waiting_.request; }
  const RequestProgress& progress() const { return waiting_.progress; }
  bool is_restore() const { return waiting_.is_restore(); }
  bool is_background() const { return waiting_.is_background(); }
  bool is_promoted() const { return waiting_.is_promoted; }
  void Promote() { waiting_.is_promoted = true; }
  absl::Time submitted() const { return waiting_.times.submitted; }
  int64_t prompt_len() const { return waiting_.prompt_len(); }
  double prompt_cost() const { return waiting_.prompt_cost; }
  int64_t done_prompt_rows() const { return waiting_.progress.prompt_rows; }
  int64_t slices_in_flight() const { return slices_in_flight_; }
  bool known_to_workers() const { return known_to_workers_; }

 private:
  // What the slice of the prompt's rows [first, end) is to answer.
  void AskForPromptRows(int64_t first, int64_t end, Slice& slice);

  uint64_t id_;
  uint64_t plan_id_;
  uint64_t contrast_plan_id_;  // 0: none
  WaitingRequest waiting_;
  int64_t replay_rows_;        // its own, after the prefix
  int64_t replayed_rows_ = 0;  // came back
  int64_t planned_rows_ = 0;   // its own
  int64_t planned_samples_;
  int64_t slices_in_flight_ = 0;
  uint64_t last_decode_step_ = 0;
  bool known_to_workers_ = false;
};

// Usage of a request that does not run.
RequestUsage UsageOf(const WaitingRequest& waiting, absl::Time now);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SEQUENCE_H_
