// Which rank has answered which step: the book behind the dispatcher.

#ifndef HEADWISE_SERVER_DISPATCH_STEP_BOARD_H_
#define HEADWISE_SERVER_DISPATCH_STEP_BOARD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/dispatch/probe_merge.h"
#include "server/dispatch/worker_link.h"
#include "server/scheduler/dispatcher.h"

namespace headwise {

using StepDone = std::function<void(absl::StatusOr<StepResult>)>;

// What a worker's answer must respect.
struct ResultLimits {
  int64_t vocab_size = 0;  // a sampled token must be below it
  int64_t model_dim = 0;   // of the hidden states of an embedding
  ProbeShape probes;
};

// What an answer means for the group.
struct Verdict {
  enum class Fault {
    kNobodys,  // nothing is wrong, ranks disagree, or a peer may be the cause
    kFailed,   // the rank says that it failed
    kWrong,    // no working rank answers so
  };
  absl::Status status;  // OK: the group goes on
  Fault fault = Fault::kNobodys;
  // Whose fault it is; none: of the rank that answered.
  std::optional<size_t> rank = std::nullopt;
  // Ranks that others waited for in a collective, in vain.
  std::vector<size_t> late = {};
};

// What one rank told of its time in a step; all 0 if the step was refused.
struct RankTiming {
  double compute_seconds = 0.0;  // outside collectives
  // In collectives: for peers that had not come, and the rest. Where the
  // transport can't tell, the rank of the group that was there for the shortest
  // time has waited for nobody.
  double wait_seconds = 0.0;
  double transfer_seconds = 0.0;
  int64_t collective_bytes = 0;
  int64_t num_collectives = 0;
};

// The steps in flight of one group, in order. Calls no callback and knows no
// time. Not thread-safe.
class StepBoard {
 public:
  StepBoard(size_t num_ranks, const ResultLimits& limits);

  void Add(std::shared_ptr<const Step> step, StepDone done);

  // Records the answer of `rank` to the oldest step that it has not answered;
  // takes the slices out of `answer`. An error means that the group can't be
  // trusted any more.
  Verdict TakeAnswer(size_t rank, StepAnswer* answer);

  struct Completed {
    StepDone done;
    absl::StatusOr<StepResult> result;
    std::vector<RankTiming> timings;  // by rank
  };
  // Removes the oldest step if all ranks have answered it.
  std::optional<Completed> PopCompleted();

  // Removes all steps; their callbacks, oldest first.
  std::vector<StepDone> Clear();

  bool empty() const { return steps_.empty(); }
  size_t size() const { return steps_.size(); }
  int64_t num_rows() const;  // of all steps in flight
  int64_t num_parks() const;

 private:
  struct InFlight {
    std::shared_ptr<const Step> step;
    StepDone done;
    size_t num_answers = 0;
    absl::Status status;  // of the first rank that answered
    StepResult result;    // of rank 0; parks of all ranks
    std::vector<std::vector<HeadProbe>> probes;  // by slice, of all ranks
    std::vector<StepResult> measured;            // by rank, without results
  };

  Verdict JudgeStatus(size_t rank, const StepAnswer& answer) const;
  absl::Status TakeResult(size_t rank, StepResult result,
                          InFlight* asked) const;
  absl::Status TakeProbes(size_t rank, std::vector<SliceResult>* results,
                          InFlight* asked) const;
  absl::Status TakeParks(size_t rank, std::vector<ParkOutcome> outcomes,
                         InFlight* asked) const;
  absl::Status JoinProbes(InFlight* asked) const;
  // Whether all ranks have drawn the same; who has not, if most agree.
  Verdict CompareDraws(const InFlight& asked) const;
  absl::Status CheckResult(const Step& step, const StepResult& result) const;
  absl::Status CheckSlice(const Slice& slice, const SliceResult& result) const;
  absl::Status CheckToken(int32_t token) const;

  const ResultLimits limits_;
  std::vector<size_t> num_answered_;  // of steps_, by rank
  std::deque<InFlight> steps_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_STEP_BOARD_H_
