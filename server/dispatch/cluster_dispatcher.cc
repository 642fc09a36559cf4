#include "server/dispatch/cluster_dispatcher.h"

#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/pulse.h"

namespace headwise {
namespace {

// How late a deadline may be noticed; also how soon a refused Submit answers.
constexpr absl::Duration kWatchInterval = absl::Milliseconds(50);

absl::Status Unavailable(const absl::Status& reason) {
  return absl::UnavailableError(
      absl::StrCat("the group of workers was lost: ", reason.message()));
}

}  // namespace

class ClusterDispatcher::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(const ClusterDispatcherOptions& options, const Clock& clock)
      : options_(options), clock_(clock) {}

  void SetGroup(StepGroup group, std::function<void(const GroupLoss&)> on_lost);
  void Submit(Step step, StepDone done);
  void CheckDeadline();
  // Requires no lock. `tell`: whether on_lost is to be called.
  void Lose(std::optional<uint64_t> membership_epoch, const GroupLoss& loss,
            bool tell);
  void WatchLoop();
  // Ends the group, if one stands, and waits for callbacks that are running.
  void ClearAndWait(const absl::Status& reason);
  // The same, for good.
  void StopAndWait();

 private:
  struct Outgoing {
    uint64_t membership_epoch = 0;
    std::shared_ptr<const Step> step;
    std::vector<std::shared_ptr<WorkerLink>> links;
  };

  void OnAnswer(uint64_t membership_epoch, size_t rank, StepAnswer answer);
  void SendAll();
  bool HasGroupLocked(uint64_t epoch) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return board_.has_value() && group_.membership_epoch == epoch;
  }
  // Callbacks are running while it is above 0; ClearAndWait waits for them.
  void EnterLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { ++num_active_; }
  void Leave() {
    absl::MutexLock lock(&mutex_);
    --num_active_;
  }

  const ClusterDispatcherOptions options_;
  const Clock& clock_;

  mutable absl::Mutex mutex_;
  StepGroup group_ ABSL_GUARDED_BY(mutex_);
  std::optional<StepBoard> board_ ABSL_GUARDED_BY(mutex_);  // while one stands
  std::function<void(const GroupLoss&)> on_lost_ ABSL_GUARDED_BY(mutex_);
  absl::Status lost_reason_ ABSL_GUARDED_BY(mutex_) =
      absl::UnavailableError("no group of workers stands yet");
  absl::Time last_progress_ ABSL_GUARDED_BY(mutex_);
  // Steps that are on their way to the links, in order; one thread sends.
  std::deque<Outgoing> outgoing_ ABSL_GUARDED_BY(mutex_);
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  // Submits without a group; bounded by kMaxStepsInFlight of the engine.
  std::vector<StepDone> refused_ ABSL_GUARDED_BY(mutex_);
  int num_active_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

void ClusterDispatcher::Core::SetGroup(
    StepGroup group, std::function<void(const GroupLoss&)> on_lost) {
  HEADWISE_CHECK(!group.links.empty());
  HEADWISE_CHECK(group.links.size() == group.names.size());
  const std::vector<std::shared_ptr<WorkerLink>> links = group.links;
  const uint64_t epoch = group.membership_epoch;
  {
    absl::MutexLock lock(&mutex_);
    HEADWISE_CHECK(!board_.has_value());
    board_.emplace(links.size(), options_.limits);
    group_ = std::move(group);
    on_lost_ = std::move(on_lost);
    last_progress_ = clock_.Now();
  }
  for (size_t rank = 0; rank < links.size(); ++rank) {
    StepListener listener;
    listener.on_answer = [core = shared_from_this(), epoch,
                          rank](StepAnswer answer) {
      core->OnAnswer(epoch, rank, std::move(answer));
    };
    listener.on_broken = [core = shared_from_this(), epoch,
                          rank](absl::Status status) {
      core->Lose(epoch,
                 {absl::UnavailableError(absl::StrCat(
                      "stream of rank ", rank, " broke: ", status.ToString())),
                  rank},
                 /*tell=*/true);
    };
    links[rank]->OpenSteps(epoch, std::move(listener));
  }
  // A stream may break while the next one is opened; that one must not stay.
  bool stands = false;
  {
    absl::MutexLock lock(&mutex_);
    stands = HasGroupLocked(epoch);
  }
  if (stands) return;
  for (const std::shared_ptr<WorkerLink>& link : links) link->CloseSteps();
}

void ClusterDispatcher::Core::Submit(Step step, StepDone done) {
  if (options_.may_command && !options_.may_command()) {
    Lose(std::nullopt,
         {absl::UnavailableError("this coordinator does not lead any more")},
         /*tell=*/true);
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!board_.has_value()) {
      refused_.push_back(std::move(done));  // the watcher answers
      return;
    }
    auto shared = std::make_shared<const Step>(std::move(step));
    if (board_->empty()) last_progress_ = clock_.Now();
    board_->Add(shared, std::move(done));
    outgoing_.push_back(
        {group_.membership_epoch, std::move(shared), group_.links});
    if (sending_) return;
    sending_ = true;
  }
  SendAll();
}

// Sends without the lock, yet in order: whoever finds another thread sending
// leaves its step to that one.
void ClusterDispatcher::Core::SendAll() {
  while (true) {
    Outgoing next;
    {
      absl::MutexLock lock(&mutex_);
      if (outgoing_.empty()) {
        sending_ = false;
        return;
      }
      next = std::move(outgoing_.front());
      outgoing_.pop_front();
    }
    for (const std::shared_ptr<WorkerLink>& link : next.links) {
      link->SendStep(next.membership_epoch, next.step);
    }
  }
}

void ClusterDispatcher::Core::OnAnswer(uint64_t membership_epoch, size_t rank,
                                       StepAnswer answer) {
  Verdict verdict;
  std::vector<StepBoard::Completed> completed;
  std::vector<StepSample> samples;  // one a rank, without its timing
  {
    absl::MutexLock lock(&mutex_);
    // A late answer of a group that is no more.
    if (!HasGroupLocked(membership_epoch)) return;
    EnterLocked();
    if (answer.membership_epoch != membership_epoch) {
      verdict.status = absl::AbortedError(absl::StrCat(
          "rank ", rank, " answered for epoch ", answer.membership_epoch,
          ", the group's is ", membership_epoch));
      verdict.fault = Verdict::Fault::kWrong;
    } else {
      verdict = board_->TakeAnswer(rank, &answer);
    }
    last_progress_ = clock_.Now();
    while (verdict.status.ok()) {
      std::optional<StepBoard::Completed> step = board_->PopCompleted();
      if (!step.has_value()) break;
      completed.push_back(*std::move(step));
    }
    if (options_.on_sample && !completed.empty()) {
      for (const std::string& name : group_.names) {
        samples.push_back({.worker = name, .group = group_.group});
      }
    }
  }
  for (StepBoard::Completed& step : completed) {
    step.done(std::move(step.result));
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i].timing = step.timings[i];
      options_.on_sample(samples[i]);
    }
  }
  if (!verdict.status.ok()) {
    GroupLoss loss{verdict.status};
    if (verdict.fault != Verdict::Fault::kNobodys) {
      loss.rank = verdict.rank.value_or(rank);
    }
    loss.is_wrong = verdict.fault == Verdict::Fault::kWrong;
    loss.late = std::move(verdict.late);
    Lose(membership_epoch, loss, /*tell=*/true);
  }
  Leave();
}

void ClusterDispatcher::Core::Lose(std::optional<uint64_t> membership_epoch,
                                   const GroupLoss& loss, bool tell) {
  StepGroup group;
  std::vector<StepDone> steps;
  std::function<void(const GroupLoss&)> on_lost;
  {
    absl::MutexLock lock(&mutex_);
    if (!board_.has_value()) return;
    if (membership_epoch.has_value() && !HasGroupLocked(*membership_epoch)) {
      return;
    }
    EnterLocked();
    steps = board_->Clear();
    board_.reset();
    group = std::move(group_);
    group_ = {};
    on_lost = std::move(on_lost_);
    on_lost_ = nullptr;
    lost_reason_ = Unavailable(loss.reason);
  }
  // Streams first: closing one makes its worker abort the group, so that no
  // peer waits in a collective for the one that failed.
  for (const std::shared_ptr<WorkerLink>& link : group.links) {
    link->CloseSteps();
  }
  for (StepDone& done : steps) done(Unavailable(loss.reason));
  if (tell && on_lost) on_lost(loss);
  Leave();
}

void ClusterDispatcher::Core::CheckDeadline() {
  uint64_t epoch = 0;
  absl::Duration allowed;
  {
    absl::MutexLock lock(&mutex_);
    if (!board_.has_value() || board_->empty()) return;
    allowed = options_.step_timeout +
              options_.step_timeout_per_row * board_->num_rows() +
              options_.step_timeout_per_park * board_->num_parks();
    if (clock_.Now() - last_progress_ <= allowed) return;
    epoch = group_.membership_epoch;
  }
  Lose(epoch,
       {absl::DeadlineExceededError(absl::StrCat(
           "no rank has answered a step for ", absl::FormatDuration(allowed)))},
       /*tell=*/true);
}

void ClusterDispatcher::Core::WatchLoop() {
  ThreadPulse pulse("hw-dispatch");
  while (true) {
    pulse.Beat();
    std::vector<StepDone> refused;
    absl::Status reason;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !refused_.empty();
      };
      mutex_.AwaitWithTimeout(absl::Condition(&awake), kWatchInterval);
      if (stopping_ && refused_.empty()) return;
      refused.swap(refused_);
      reason = lost_reason_;
    }
    for (StepDone& done : refused) done(reason);
    CheckDeadline();
  }
}

void ClusterDispatcher::Core::StopAndWait() {
  ClearAndWait(absl::CancelledError("the dispatcher is shutting down"));
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

void ClusterDispatcher::Core::ClearAndWait(const absl::Status& reason) {
  Lose(std::nullopt, {reason}, /*tell=*/false);
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_active_ == 0;
  };
  mutex_.Await(absl::Condition(&idle));
}

ClusterDispatcher::ClusterDispatcher(const ClusterDispatcherOptions& options,
                                     const Clock& clock)
    : core_(std::make_shared<Core>(options, clock)),
      watcher_([core = core_] { core->WatchLoop(); }) {}

ClusterDispatcher::~ClusterDispatcher() {
  core_->StopAndWait();
  watcher_.join();
}

void ClusterDispatcher::SetGroup(
    StepGroup group, std::function<void(const GroupLoss&)> on_lost) {
  core_->SetGroup(std::move(group), std::move(on_lost));
}

void ClusterDispatcher::ClearGroup(const absl::Status& reason) {
  core_->ClearAndWait(reason);
}

void ClusterDispatcher::Submit(Step step, StepDone done) {
  core_->Submit(std::move(step), std::move(done));
}

void ClusterDispatcher::CheckDeadline() { core_->CheckDeadline(); }

}  // namespace headwise
