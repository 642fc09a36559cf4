// Decides which rows run in which step, and when a request ends.

#ifndef HEADWISE_SERVER_SCHEDULER_SCHEDULER_H_
#define HEADWISE_SERVER_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/free_queue.h"
#include "server/scheduler/held_prefixes.h"
#include "server/scheduler/kv_ledger.h"
#include "server/scheduler/kv_needs.h"
#include "server/scheduler/long_prompts.h"
#include "server/scheduler/plan_table.h"
#include "server/scheduler/row_costs.h"
#include "server/scheduler/sequence.h"
#include "server/scheduler/service_times.h"

namespace headwise {

// Names a step across lost groups: step ids start again at 1 in each.
struct StepTicket {
  uint64_t group = 0;
  uint64_t step_id = 0;
};

struct TicketedStep {
  StepTicket ticket;
  Step step;
};

// What a request's sink is to hear. Events of one request are in order, and
// kFinished is its last.
struct SchedulerEvent {
  enum class Kind { kPrefill, kToken, kRows, kFinished };
  Kind kind = Kind::kFinished;
  uint64_t request_id = 0;
  int64_t first = 0;  // kPrefill: processed tokens; kRows: first position
  int64_t total = 0;  // kPrefill
  SliceResult outcome = {};  // kToken, kRows
  absl::Status status = {};  // kFinished
  RequestUsage usage = {};   // kFinished
};

// Continuous batching with chunked prefill over a pipeline of steps.
//
// A request waits (bounded) until its full need of KV can be reserved and a
// place is free, then runs until its last token. Tenants take turns, the one
// with the fewest requests that run first; of a tenant, first come is first
// served. Nothing overtakes whose turn it is, so small requests can't starve a
// big one; but those that by forecast (service_times.h) would end after their
// deadlines come last, so that under too much load some are in time. What is
// certain to be late is refused at once. The last eighth of the queue is kept
// for tenants that have less than that waiting.
//
// Each step has one row for every sequence in decode, as many of them as it has
// room for, in turn and shared by tenants; then rows of prompts, at most
// prefill_chunk of each. It is filled by what rows cost (row_costs.h): up
// to max_step_tokens rows at the begin of a context, and the fewer the more
// they see; prompts share that by prompt_shares.h. At most max_step_tokens
// sequences run, so where contexts are not deep a decode never misses a step
// (but for probes, whose answers may fill one). Prompts that are too long for
// one step have less of it beside others, and rows in one step at a time
// (long_prompts.h). So a prompt holds others up by one step, as long as half of
// max_step_tokens rows at the begin of a context, or as one row of it if that
// is longer; but the first that comes to one that is done in seconds, by two
// full steps.
//
// A step is formed while another one is in flight; a row whose token is still
// in flight says use_last_sample. If its sequence turns out to have ended, the
// row's outcome is dropped.
//
// A prefix that is held has no place among those that run, only its KV. That is
// others' when they need it if nothing runs that begins with the prefix, and it
// may be evicted or nobody holds it any more: then those that wait to begin
// with it come later, and two prefixes never wait for each other to go. Forks
// overtake a request that does not fit beside what can't be evicted: it can't
// run before some prefix goes, and whoever holds that may wait for its forks.
// So whenever nothing runs, some request begins, or each that waits does not
// fit beside prefixes that somebody holds. Plans travel with the first step
// that needs them; requests under different ones share steps.
//
// Background requests have what the others leave: they run in steps of their
// own, one at a time and of at most max_background_rows, while no other request
// waits or has a row to run, and take half of the places and of the caches, or
// all if nothing else runs. One that stands in the way of another request's
// place or memory waits again, as after the loss of a group (but for forks,
// which run to their end). So others wait for one small step at most. The
// oldest counts as one of the others once it came kBackgroundPatience ago.
//
// When a group is lost, what ran waits again, with what its sink has heard (see
// RequestProgress), and is admitted anew by the next group, before requests
// that came later. A fork of a prefix that was lost has that run again in its
// turn: a restore, which is a sequence of the prefix's own id that no sink
// hears of; its own room is kept meanwhile. Outcomes that were in flight are
// computed again.
//
// Steps that move prefixes between memory and files go alone, and before
// others: ranks take different times for their files, and a collective that
// follows would wait for the slowest.
//
// A pure state machine: not thread-safe, no clock, no thread. The order of
// calls decides everything.
class Scheduler {
 public:
  // CHECKs that limits are positive, capacities not negative.
  explicit Scheduler(const EngineOptions& options);

  // As Engine::Submit. Ids grow with arrival and are never used again.
  absl::StatusOr<uint64_t> Submit(EngineRequest request, absl::Time now);
  // Ends the request with Cancelled; with OK (its sink wants no more tokens).
  // No effect if it has ended.
  void Cancel(uint64_t id, absl::Time now);
  void Stop(uint64_t id, absl::Time now);
  // As Engine::HoldTokens and Engine::Release.
  uint64_t HoldTokens(std::vector<int32_t> tokens,
                      std::shared_ptr<const HeadPlan> plan, std::string tenant);
  void Release(uint64_t id, absl::Time now);
  // As Engine::TokensOf.
  absl::StatusOr<std::vector<int32_t>> TokensOf(uint64_t id) const;
  // As Engine::Park and Engine::Unpark; the id is that of the event kFinished.
  absl::StatusOr<uint64_t> Park(uint64_t id);
  absl::StatusOr<uint64_t> Unpark(uint64_t id);
  // Releases prefixes too; what is being parked goes once it is.
  void CancelAll(absl::Time now);
  // As Engine::Close, but for later requests.
  void EndAll(const absl::Status& status, absl::Time now);
  // The same, and prefixes that are run again are held still.
  void EndRequests(const absl::Status& status, absl::Time now);
  // Ends requests whose deadline is at or before `now`, and all if there has
  // been no group for rebuild_wait.
  void Expire(absl::Time now);
  // As Engine::Suspend and Engine::Resume.
  void Suspend(const absl::Status& reason, GroupEnd end, absl::Time now);
  ResumeReport Resume(KvCapacity capacity, absl::Time now);

  // The next step to send, if there is room in the pipeline and work to do.
  std::optional<TicketedStep> NextStep(absl::Time now);
  // A step was answered; outcomes may come in any order. Of a group that was
  // lost since, they are ignored.
  void AddOutcome(const StepTicket& ticket, absl::StatusOr<StepResult> outcome);
  // Applies the outcome of the oldest step in flight. False if it has not come.
  bool ApplyOutcome(absl::Time now);

  std::vector<SchedulerEvent> TakeEvents();

  // Steps sent and not answered, lost groups' included.
  int64_t steps_unanswered() const;
  bool has_steps_in_flight() const { return !steps_.empty(); }
  // Nothing waits, runs, is in flight or remains to be freed.
  bool idle() const;
  absl::Time next_deadline() const;  // InfiniteFuture if none
  // As Engine::AskSize.
  absl::StatusOr<SizeAnswer> AskSize(const SizeQuestion& question) const;
  EngineStats stats() const;

 private:
  // What the outcome of a slice is compared with; the step itself is gone.
  struct SentSlice {
    uint64_t sequence_id = 0;
    int64_t first_position = 0;
    int64_t num_rows = 0;
    bool sample = false;
    bool score = false;
    bool contrast = false;
    bool hash_logits = false;
    bool embed = false;
    bool probe = false;
    bool is_replay = false;
  };
  struct SentStep {
    uint64_t step_id = 0;
    std::vector<SentSlice> slices;
    FreeQueue::Batch frees;
    std::vector<uint64_t> plan_ids;
    std::vector<uint64_t> drop_plan_ids;
    uint64_t park_id = 0;        // of the ParkJob whose step it is; 0: none
    bool has_long_rows = false;  // of prompts that are, and that are not
    bool has_short_rows = false;
    double cost = 0;  // RowCosts
    absl::Time sent_at;
    std::optional<absl::StatusOr<StepResult>> outcome;
  };
  // What a step has left to give.
  struct StepRoom {
    double cost = 0;  // RowCosts
    int64_t rows = 0;
    int64_t probe_bytes = 0;
  };
  // A sequence that has rows of its prompt left.
  struct Prompt {
    Sequence* sequence = nullptr;
    bool is_long = false;
  };
  // A prefix on its way to files or back, in two steps: write, unload; or read,
  // erase. The second undoes the first where some rank has failed.
  struct ParkJob {
    uint64_t prefix_id = 0;
    bool is_unpark = false;
    uint64_t plan_id = 0;                    // is_unpark
    ParkAction action = ParkAction::kWrite;  // of the next step, or in flight
    std::vector<int64_t> file_bytes;         // by rank
    absl::Status status;                     // what it will end with
  };
  using RunningMap = std::map<uint64_t, Sequence>;
  // Of a step, what prompts get at least, whatever its decode rows cost.
  static constexpr double kPromptShare = 0.25;
  // An eighth of the queue.
  static constexpr int64_t kQueueKept = 8;

  static bool Matches(const SentSlice& sent, const SliceResult& outcome);

  TicketedStep Send(Step step, SentStep sent, absl::Time now);
  absl::StatusOr<const HeldPrefix*> CheckPark(uint64_t id,
                                              PrefixPlace place) const;
  bool IsLost(uint64_t prefix_id) const;
  uint64_t EndAtOnce();
  uint64_t StartPark(ParkJob job);
  TicketedStep NextParkStep(absl::Time now);
  void ApplyPark(uint64_t id, const absl::StatusOr<StepResult>& outcome);
  void EndPark(uint64_t id, const absl::Status& status);
  uint64_t Enqueue(WaitingRequest waiting);
  // ResourceExhausted if it has no place for one more like it.
  absl::Status CheckQueue(const EngineRequest& request) const;
  // Why it would certainly be too late.
  absl::Status CheckDeadline(const WaitingRequest& waiting,
                             absl::Time now) const;
  // Waiting ones that begin before one more of that tenant does, at least.
  int64_t NumBefore(const std::string& tenant) const;
  // When one should come again that would wait for so many.
  absl::Duration RetryTime(int64_t num_before) const;
  // Of the request's time if it began now; below 0: it would end too late.
  absl::Duration TimeToSpare(const WaitingRequest& waiting,
                             absl::Time now) const;
  double PromptCost(const EngineRequest& request, int64_t prefix_len) const;
  void MeasureStep(const SentStep& step, absl::Time now);
  void MeasureEnd(const Sequence& sequence, bool is_whole, absl::Time now);
  bool HasWaiting() const;  // in the foreground
  // What is promised to a tenant.
  struct TenantUse {
    int64_t running_bytes = 0;  // of KV, all ranks together
    int64_t held_bytes = 0;
  };
  int64_t NumRunning(const std::string& tenant) const;
  TenantUse UseOf(const std::string& tenant) const;
  // Why the tenant may not have one more request wait.
  absl::Status CheckQuota(const WaitingRequest& waiting, absl::Time now) const;
  // Its tenant's quota lets it begin now, prefixes of the tenant given up for
  // it if need be.
  bool QuotaAllows(const WaitingRequest& waiting,
                   const std::vector<uint64_t>& kept_for, SentStep& sent);
  // As EvictableFor: the tenant's own, and none that the request begins with.
  std::vector<uint64_t> EvictableOfTenant(
      const WaitingRequest& waiting,
      const std::vector<uint64_t>& kept_for) const;
  void AdmitWaiting(SentStep& sent, absl::Time now);
  // The order in which they may begin: in turn, but those at last that would
  // be too late, of them the one first that would be so by the least.
  std::vector<uint64_t> WaitingInOrder(bool of_background,
                                       absl::Time now) const;
  std::vector<uint64_t> WaitingInTurn(bool of_background) const;
  // Only background requests, or all others. False if one of them still waits.
  bool AdmitWaiting(bool of_background, SentStep& sent, absl::Time now);
  // True if a request runs alone, now or already: groups were lost under it.
  bool AdmitSuspect(absl::Time now);
  bool MayRunInBackground(const WaitingRequest& waiting) const;
  // See kBackgroundPatience.
  void PromoteOldest(absl::Time now);
  // A request of the foreground waits for them.
  void PromoteRestores(const WaitingRequest& waiting);
  // Sequences of the background that may be, the youngest first.
  std::vector<uint64_t> Preemptible() const;
  // It waits again, with what its sink has heard, whose rows run again.
  void Preempt(uint64_t id, SentStep& sent);
  // It begins, or a prefix of it is run again. False: there is no place.
  bool BeginOne(uint64_t id, WaitingRequest& waiting, SentStep& sent,
                absl::Time now);
  bool AdmitOne(uint64_t id, WaitingRequest& waiting, absl::Time now);
  // What the request needs of this group's caches, or why it can't be served.
  // Requires that its prefix, if it has one, lives.
  absl::StatusOr<std::vector<int64_t>> AdmitToGroup(
      const EngineRequest& request) const;
  // What a prefix has reserved, or will have once it is run again.
  std::vector<int64_t> BytesOf(uint64_t prefix_id) const;
  // Its prefix, if it has one, is where it can begin.
  bool MayBegin(const WaitingRequest& waiting) const;
  // The prefix to be run again next; none: it can begin, or one runs.
  std::optional<uint64_t> NextRestore(const WaitingRequest& waiting) const;
  // Has a lost prefix run again. False: there is no place.
  bool Restore(uint64_t prefix_id, bool in_background, absl::Time now);
  void EndRestore(uint64_t prefix_id, const absl::Status& status,
                  absl::Time now);
  // Takes it off the group that is lost, or ends it.
  void SetBack(Sequence sequence, GroupEnd end, absl::Time now);
  // Whether it will fit once all has ended and gone that may.
  bool FitsBesidePrefixes(uint64_t id, const WaitingRequest& waiting) const;
  double RowCost(const Sequence& sequence) const;  // of its next row
  void AddSlices(Step& step, SentStep& sent);
  // Of one priority, for at most so much (RowCosts).
  void AddRows(bool of_background, int64_t max_cost, Step& step,
               SentStep& sent);
  void AddSlice(Slice slice, Step& step, SentStep& sent);
  // A row of each that decodes; where those cost more than `budget`, tenants
  // share it.
  void AddDecodes(bool of_background, double budget, StepRoom& room, Step& step,
                  SentStep& sent);
  // It does not fit into one step: see long_prompts.h.
  bool IsLong(const Sequence& sequence) const;
  double RoomOfLong(const std::vector<Prompt>& prompts, const StepRoom& room);
  void AddPrompts(bool of_background, StepRoom room, Step& step,
                  SentStep& sent);
  // How many rows it has in the step: what `budget` allows, one at least, and
  // what there is room for.
  int64_t AddPrompt(Sequence& sequence, double budget, StepRoom& room,
                    Step& step, SentStep& sent);
  void ApplyResults(SentStep& step, StepResult outcome, absl::Time now);
  void ApplyResult(const SentSlice& sent, SliceResult outcome, absl::Time now);
  void FailStep(const SentStep& step, const absl::Status& status,
                absl::Time now);
  void EmitRows(const Sequence& sequence, const SentSlice& sent,
                SliceResult outcome);
  void OnSliceDone(uint64_t sequence_id, bool ran);
  // Its share of the caches is free, or will be once a step has told so.
  void ReleaseKv(uint64_t sequence_id);
  void FreePrefix(GonePrefix prefix);
  // Its prompt has run; it stays.
  void Hold(uint64_t id, absl::Time now);
  // With what goes as the last that began with it has gone.
  void TakeFrees(SentStep& sent);
  // Its own bytes, and those of prefixes that are to be run again for it.
  std::vector<int64_t> NeedOf(const WaitingRequest& waiting) const;
  // Prefixes that nothing begins with but what waits and is not one of `ids`.
  std::vector<uint64_t> EvictableFor(const std::vector<uint64_t>& ids) const;
  // True: so many bytes are free now. Prefixes are evicted if need be, but none
  // that one of `ids` begins with; and then, not for the background, sequences
  // of it preempted.
  bool MakeRoom(bool of_background, const std::vector<int64_t>& bytes,
                const std::vector<uint64_t>& ids, SentStep& sent);
  // Those above kMaxIdlePrefixes.
  void EvictIdle(SentStep& sent);
  // And what began with it.
  void Evict(uint64_t prefix_id, SentStep& sent);
  void EmitEnd(uint64_t id, absl::Time deadline, const absl::Status& status,
               const RequestUsage& usage);
  void End(uint64_t id, const absl::Status& status, absl::Time now);
  void ForgetRunning(const Sequence& sequence);
  int64_t ProbeBytes(const Sequence& sequence, int64_t num_rows) const;
  void Emit(SchedulerEvent event) { events_.push_back(std::move(event)); }

  const EngineOptions options_;
  const int64_t max_running_;
  KvNeeds needs_;
  RowCosts row_costs_;
  KvLedger kv_;
  PlanTable plans_;
  HeldPrefixes held_;
  FreeQueue frees_;
  std::map<uint64_t, WaitingRequest> waiting_;  // by arrival
  std::map<uint64_t, ParkJob> parks_;  // by arrival; the first one moves
  RunningMap running_;                 // by arrival
  std::set<std::pair<absl::Time, uint64_t>> deadlines_;
  std::deque<SentStep> steps_;  // in flight, oldest first
  std::vector<SchedulerEvent> events_;
  std::optional<absl::Status> suspended_;  // Unavailable, with the reason
  absl::Time suspended_since_ = absl::InfiniteFuture();
  bool had_group_;
  ServiceTimes times_;
  TokenBuckets buckets_;
  absl::Time last_answer_ = absl::InfinitePast();  // of a step
  // Requests waited when others were last let in, for those that run to end.
  bool queue_stands_ = false;
  // With rows of long prompts, since something ran beside them.
  int64_t long_steps_alone_ = kLongStepsKeptShort;
  int64_t num_passed_ = 0;  // LongPromptTerms
  uint64_t group_ = 1;
  uint64_t last_step_id_ = 0;  // of this group
  uint64_t last_request_id_ = 0;
  uint64_t steps_total_ = 0;
  uint64_t evictions_total_ = 0;
  uint64_t preemptions_total_ = 0;
  bool look_for_idle_ = false;  // something changed since it was looked
  int64_t lost_steps_unanswered_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SCHEDULER_H_
