// For tests: a scheduler, a model of the workers' books, and random events.

#ifndef HEADWISE_SERVER_SCHEDULER_SCHEDULER_SIMULATION_H_
#define HEADWISE_SERVER_SCHEDULER_SCHEDULER_SIMULATION_H_

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/scheduler/model_workers.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

// What goes wrong when the n-th step (1-based) is formed: it fails with `code`,
// or the group is suspended from outside.
struct SimulatedFault {
  int64_t nth_step = std::numeric_limits<int64_t>::max();
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
  bool is_suspend = false;
  bool is_repeated = false;  // each n-th step, not only the first one

  bool is_loss() const {
    return is_suspend || code == absl::StatusCode::kUnavailable;
  }
};

// Whatever mix of requests, priorities, plans, prefixes, forks, options,
// cancels, stops, deadlines and faults comes out of the seed, it expects (with
// GoogleTest) that every step is one that workers accept, within the bounds of
// the options, and that every request hears its own answer, or the beginning of
// it, and one end. The loss of a group ends none of them, unless the next one
// is too small for it, or there is none for too long. As long as something
// could run, something does, and comes further. Steps run in order, outcomes
// arrive in any.
class SchedulerSimulation {
 public:
  SchedulerSimulation(uint64_t seed, const SimulatedFault& fault);

  // Random actions, then drains.
  void Run();

  bool fault_happened() const { return num_steps_ >= fault_.nth_step; }
  int64_t num_answered_ok() const { return num_answered_ok_; }

 private:
  struct Record {
    EngineRequest request;
    ModelPast prefix;  // of a fork
    ExpectedAnswer expected;
    absl::Time submitted;
    int64_t stop_after = 0;  // the sink's stop at this token; 0: none
    bool is_cancelled = false;
    std::vector<int32_t> tokens;
    SliceResult rows;  // concatenated
    int64_t num_rows = 0;
    int64_t num_prefilled = 0;
    int64_t num_probed = 0;   // rows
    int64_t replay_rows = 0;  // heard before the last loss
    bool is_begun = false;    // in this group
    std::optional<absl::Status> finished;
  };
  struct SentStep {
    TicketedStep ticketed;
    int64_t failures_known = 0;  // when it was formed
    bool is_faulty = false;
    bool is_delivered = false;
    std::optional<absl::StatusOr<StepResult>> outcome;  // once executed
  };

  int64_t Below(int64_t limit) {
    return static_cast<int64_t>(random_() % limit);
  }
  EngineOptions RandomOptions();
  std::shared_ptr<const HeadPlan> RandomPlan();
  EngineRequest RandomRequest();

  void Act();
  void SubmitOne();
  void HoldTokens();
  void MakeFork(Record& record);
  absl::Status ExpectedRefusal(const Record& record) const;
  void CancelOne();
  void ReleaseOne();
  void FormStep();
  void ExecuteOldest();
  void DeliverOne();
  bool IsFaulty() const;
  void LoseGroup();
  static void SetBack(Record& record);
  bool HasGivenUp() const;
  void MaybeResume();
  void HearEvents();

  void CheckStep(const Step& step);
  void CheckPriorities(const Step& step);
  void CheckFree(uint64_t id);
  void CheckProgress(bool is_step);
  void CheckEnd(const Record& record, const RequestUsage& usage);
  void CheckDrains();

  std::mt19937_64 random_;
  const EngineOptions options_;
  KvCapacity capacity_;
  const SimulatedFault fault_;
  Scheduler scheduler_;
  std::optional<ModelWorkers> workers_;  // none: the group is lost
  absl::Time now_ = absl::UnixEpoch();
  std::map<uint64_t, Record> records_;
  std::set<uint64_t> held_;     // prefixes that have run and were not released
  std::deque<SentStep> steps_;  // of this group, not applied, oldest first
  std::deque<SentStep> lost_steps_;  // of earlier groups, not answered
  int64_t num_steps_ = 0;
  int64_t num_answered_ok_ = 0;
  int64_t failures_executed_ = 0;
  int64_t failures_applied_ = 0;
  bool is_suspended_ = false;
  absl::Time suspended_since_;
  int64_t num_resumes_ = 0;
  int64_t steps_without_progress_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SCHEDULER_SIMULATION_H_
