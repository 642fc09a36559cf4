// The engine without its thread: one round of the loop is one call of Step.

#ifndef HEADWISE_SERVER_SCHEDULER_ENGINE_LOOP_H_
#define HEADWISE_SERVER_SCHEDULER_ENGINE_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/outcome_inbox.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

// Joins the scheduler (integers) with the dispatcher and the sinks (threads).
// The methods of Engine are thread-safe; Step and AwaitWork belong to one
// thread. Sinks and the dispatcher are called by Step only, without a lock.
class EngineLoop : public Engine {
 public:
  // `dispatcher` and `clock` must outlive the loop. It may go only when
  // finished(), or when its steps will not be answered.
  EngineLoop(const EngineOptions& options, Dispatcher& dispatcher,
             const Clock& clock);

  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<RequestSink> sink) override;
  void Cancel(uint64_t id) override;
  uint64_t HoldTokens(std::vector<int32_t> tokens,
                      std::shared_ptr<const HeadPlan> plan,
                      std::string tenant) override;
  absl::StatusOr<std::vector<int32_t>> TokensOf(uint64_t id) const override;
  void Release(uint64_t id) override;
  // Suspend and Resume wait for a running Dispatcher::Submit, so that no step
  // of the lost group can reach the next one: do not call them from there.
  absl::StatusOr<uint64_t> Park(uint64_t id,
                                std::shared_ptr<RequestSink> sink) override;
  absl::StatusOr<uint64_t> Unpark(uint64_t id,
                                  std::shared_ptr<RequestSink> sink) override;
  void Suspend(absl::Status reason, GroupEnd end) override;
  ResumeReport Resume(KvCapacity capacity) override;
  void Refuse(absl::Status reason) override;
  void Close(absl::Status reason) override;
  absl::StatusOr<SizeAnswer> AskSize(
      const SizeQuestion& question) const override;
  EngineStats stats() const override;

  // Applies what has arrived, tells sinks, sends steps. If the workers have
  // nothing left to do, the next step goes out before the sinks hear of the
  // last one; else the sinks come first, as they may stop a sequence. True if
  // anything was done.
  bool Step();
  // Blocks until Step may have something to do, or for kPulseInterval.
  void AwaitWork();

  // Ends all requests with Cancelled and refuses new ones. Step then frees
  // their sequences.
  void BeginShutdown();
  // After BeginShutdown: every sink has heard, and no step is in flight.
  bool finished() const;

 private:
  struct SinkCall {
    std::shared_ptr<RequestSink> sink;
    SchedulerEvent event;
  };

  // Tells `sink` of what `start` has begun.
  absl::StatusOr<uint64_t> Begin(
      const std::function<absl::StatusOr<uint64_t>(Scheduler&)>& start,
      std::shared_ptr<RequestSink> sink) ABSL_LOCKS_EXCLUDED(mutex_);
  std::optional<TicketedStep> NextStepLocked()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<SinkCall> TakeCallsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddArrivals(std::vector<OutcomeInbox::Arrival> arrivals)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool ApplyArrivals() ABSL_LOCKS_EXCLUDED(mutex_);
  bool FillPipeline() ABSL_LOCKS_EXCLUDED(mutex_);
  void Send(TicketedStep step) ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver(std::vector<SinkCall> calls) ABSL_LOCKS_EXCLUDED(mutex_);

  Dispatcher& dispatcher_;
  const Clock& clock_;
  const std::shared_ptr<OutcomeInbox> inbox_;

  mutable absl::Mutex mutex_;
  Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::shared_ptr<RequestSink>> sinks_
      ABSL_GUARDED_BY(mutex_);
  // A step is formed, and Dispatcher::Submit has not returned.
  bool is_sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);   // not OK: why
  absl::Status refused_ ABSL_GUARDED_BY(mutex_);  // the same, for a while
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ENGINE_LOOP_H_
