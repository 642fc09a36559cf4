// Sends steps to every rank of the group and joins the answers.

#ifndef HEADWISE_SERVER_DISPATCH_CLUSTER_DISPATCHER_H_
#define HEADWISE_SERVER_DISPATCH_CLUSTER_DISPATCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/dispatch/step_board.h"
#include "server/dispatch/worker_link.h"
#include "server/scheduler/dispatcher.h"

namespace headwise {

// What one rank did in one step, for the metrics edge.
struct StepSample {
  std::string worker;
  GroupChoice group = GroupChoice::kInProcess;
  RankTiming timing;
};

struct ClusterDispatcherOptions {
  // The group is lost when no rank has answered anything for step_timeout plus
  // step_timeout_per_row for each row in flight. The first is what a frozen
  // worker costs a decode; the second lets a long prefill of a slow worker go
  // on (a frozen peer in a group of several is found sooner, by its
  // collectives).
  absl::Duration step_timeout = absl::Seconds(3);
  absl::Duration step_timeout_per_row = absl::Milliseconds(10);
  // And for each sequence that is parked or taken up again: 60 GB on a disk of
  // 100 MB/s.
  absl::Duration step_timeout_per_park = absl::Minutes(10);
  ResultLimits limits;
  // Asked before each step; empty: always. If not, the group is lost.
  std::function<bool()> may_command;
  // Hears of every rank once all have answered a step and it is done; called
  // without a lock held; must not block.
  std::function<void(const StepSample&)> on_sample;
};

// A group that runs steps: its links have joined under one membership epoch.
struct StepGroup {
  uint64_t membership_epoch = 0;
  GroupChoice group = GroupChoice::kInProcess;
  std::vector<std::string> names;                  // by rank
  std::vector<std::shared_ptr<WorkerLink>> links;  // by rank
};

// Why a group was lost.
struct GroupLoss {
  absl::Status reason;
  // Who failed, as far as the dispatcher can tell.
  std::optional<size_t> rank = std::nullopt;
  // It answered what no working rank answers: it, and no peer, is to blame.
  bool is_wrong = false;
  // Ranks that others waited for in a collective, in vain.
  std::vector<size_t> late = {};
};

// Thread-safe. Owns one thread, which watches deadlines and gives the answers
// that may not come from within Submit.
//
// Ranks answer in order, so steps complete in order. A step whose ranks all
// report the same InvalidArgument, ResourceExhausted or OutOfRange changed no
// more than its own sequences and the group lives on. Anything else (a broken
// stream, a deadline, another status, ranks that disagree, an answer of the
// wrong shape) loses the group: streams are closed, each step in flight ends
// with Unavailable, then on_lost is called.
class ClusterDispatcher final : public Dispatcher {
 public:
  // `clock` must outlive the dispatcher.
  ClusterDispatcher(const ClusterDispatcherOptions& options,
                    const Clock& clock);
  // Ends the group and what is in flight; waits for callbacks that are running,
  // so it must not be called from one.
  ~ClusterDispatcher() override;

  // From now on steps go to `group`; opens its streams. `on_lost` is called at
  // most once, from any thread, and must not block. Requires that no group
  // stands.
  void SetGroup(StepGroup group, std::function<void(const GroupLoss&)> on_lost);

  // Ends the group, if one stands, as if it were lost, but without a call of
  // on_lost; then waits for callbacks that are running, so it must not be
  // called from one. After it no callback of that group comes.
  void ClearGroup(const absl::Status& reason);

  void Submit(Step step, StepDone done) override;

  // Loses the group if its step is late. The own thread calls it every 50 ms;
  // tests call it with a clock of their own.
  void CheckDeadline();

 private:
  // Shared with the listeners that links hold, which may outlive us.
  class Core;
  std::shared_ptr<Core> core_;
  std::thread watcher_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_CLUSTER_DISPATCHER_H_
