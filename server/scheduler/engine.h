// The coordinator's loop: requests in, steps out, tokens back.

#ifndef HEADWISE_SERVER_SCHEDULER_ENGINE_H_
#define HEADWISE_SERVER_SCHEDULER_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/kv_needs.h"
#include "server/scheduler/size_answer.h"
#include "server/scheduler/tenant_quotas.h"
#include "worker/step/step.h"

namespace headwise {

// What a sequence of a request does with its tokens. kPrefix: runs its prompt
// and then stays in the caches, so that others begin where it ended, until
// Engine::Release.
enum class WorkKind { kGenerate, kScore, kEmbed, kPrefix };

struct RequestUsage {
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;  // of the whole answer
  int64_t received_tokens = 0;   // of them, EngineRequest::received
  int64_t cached_tokens = 0;
  absl::Duration queue_time;
  absl::Duration prefill_time;
  absl::Duration decode_time;
};

// Receives what happens to one request; nothing of it when the request's group
// of workers is lost and it goes on in another one. Calls come one at a time
// from the engine's thread and must not block; OnFinished is the last one and
// comes exactly once, with OK, Cancelled, DeadlineExceeded, Unavailable or
// another error.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void OnPrefill(int64_t processed_tokens, int64_t total_tokens) {}
  // False ends the sequence as finished (a stop string was found); the engine
  // then calls OnFinished(OK).
  virtual bool OnToken(const SliceResult& outcome) { return true; }
  // kScore, kEmbed: the outcome of rows [first_position, first_position +
  // rows); positions count from the begin of the sequence, a prefix included.
  // For the other kinds it tells the probes of the prompt's rows, if any were
  // asked for; those of a generated token's row come with the next token.
  virtual void OnRows(int64_t first_position, const SliceResult& outcome) {}
  virtual void OnFinished(const absl::Status& status,
                          const RequestUsage& usage) = 0;
};

struct EngineRequest {
  std::string request_id;  // for logs
  std::string tenant;      // who shares steps and queue with others; may be ""
  WorkKind kind = WorkKind::kGenerate;
  std::vector<int32_t> prompt;  // 1 or more tokens, each in the vocabulary
  int64_t max_new_tokens = 0;   // kGenerate: >= 1
  // kGenerate: the first tokens of the answer, fewer than max_new_tokens and
  // none of stop_tokens, which the caller has from an earlier try. They run
  // again with the prompt, and the sink hears of what follows them, the same as
  // if it had been one try.
  std::vector<int32_t> received;
  SamplingOptions sampling;
  std::vector<int32_t> stop_tokens;  // end generation; reported by OnToken
  bool hash_logits = false;          // kScore
  absl::Time deadline = absl::InfiniteFuture();
  // Null: the default plan, every unit full. Of the model's shape, and one that
  // CheckHeadPlan accepts.
  std::shared_ptr<const HeadPlan> plan;
  // kScore: the rows are scored under this plan too
  // (SliceResult::contrast_logprobs), and what lies below the first layer in
  // which the plans differ runs once. Null: no. Not of a fork, nor with
  // hash_logits.
  std::shared_ptr<const HeadPlan> contrast_plan;
  // Not kPrefix: runs in no step with requests that are not, begins only while
  // none of those waits, and gives up its place and memory to them; see
  // Scheduler. Changes when the sink hears, and nothing of what it hears.
  bool is_background = false;
  ProbeRequest probe;  // of all rows; needs a plan whose units are all full
  // kPrefix: while nothing begins with it, its memory may be given to others,
  // those that were used last at last; it is then run again when something
  // does.
  bool may_evict = false;
  // Begins where the prefix of that id ended, and `prompt` follows it; 0: none.
  uint64_t fork_from = 0;
};

struct EngineOptions {
  // Rows in one step; less where they see much context, each counted by what it
  // costs (row_costs.h).
  int64_t max_step_tokens = 512;
  int64_t max_running_sequences = 64;
  int64_t max_queued_requests = 1024;
  int64_t prefill_chunk = 512;  // rows of one sequence in one step
  // Rows in one step of background requests: what another request may find in
  // its way. A row with a contrast counts as two, here and above.
  int64_t max_background_rows = 256;
  // CHECKed: CheckTenantQuotas.
  TenantQuotas quotas;
  // Requests wait so long for another group when theirs was lost.
  absl::Duration rebuild_wait = absl::Seconds(30);
  KvGeometry kv;
  KvCapacity kv_capacity;
  // Tokens of one sequence, as the model was trained; more where a plan
  // renumbers positions within them (model/head_plan/rotary_reach.h).
  int64_t max_context_len = 0;
};

// A request in the background that came so long ago counts as one of the
// others; one of them at a time, by age. So they come to an end.
inline constexpr absl::Duration kBackgroundPatience = absl::Minutes(1);

struct EngineStats {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t waiting_limit = 0;               // one more is refused
  int64_t held = 0;                        // prefixes
  int64_t parked = 0;                      // of them
  int64_t evicted = 0;                     // of them, in no memory
  std::vector<int64_t> kv_bytes_used;      // promised, by rank
  std::vector<int64_t> kv_bytes_capacity;  // by rank
  std::vector<int64_t> parked_bytes;       // in files, by rank; empty: none
  uint64_t steps_total = 0;
  uint64_t evictions_total = 0;
  uint64_t preemptions_total = 0;  // of requests in the background
};

// Why there is no group for a while.
enum class GroupEnd {
  kLost,     // something failed
  kPlanned,  // it ends only to be formed anew
};

// What waited for a group.
struct ResumeReport {
  int64_t num_rebuilt = 0;  // requests that ran in an earlier one and go on
  int64_t num_ended = 0;    // that can't be served by this one
  absl::Duration paused;    // since there was none
};

// Prefixes that may be evicted, in memory while nothing begins with them:
// workers have books of each.
inline constexpr int64_t kMaxIdlePrefixes = 1024;

// A request that groups were lost under so often in a row, without its coming
// any further, is taken for their cause. The last time it runs alone.
inline constexpr int kMaxLosses = 3;

// Owns one thread. Thread-safe.
class Engine {
 public:
  // `dispatcher` and `clock` must outlive the engine.
  static std::unique_ptr<Engine> Create(const EngineOptions& options,
                                        Dispatcher& dispatcher,
                                        const Clock& clock);
  // Ends all requests with Cancelled, waits for steps in flight.
  virtual ~Engine() = default;

  // Admits or refuses at once. OK: `sink` now hears of the request until
  // OnFinished; returns an id for Cancel, and of a prefix for fork_from and
  // Release. OutOfRange: it can never fit (needed and available bytes, longest
  // context that fits under its plan). ResourceExhausted: the queue is full.
  // NotFound: no prefix of the id fork_from is held. InvalidArgument: a plan of
  // another shape, or one that the prefix can't go on under. Unavailable: there
  // has been no group yet, or none for rebuild_wait. On an error the sink is
  // never called.
  virtual absl::StatusOr<uint64_t> Submit(
      EngineRequest request, std::shared_ptr<RequestSink> sink) = 0;
  // The work stops within one step and the KV is freed; the sink hears
  // Cancelled. No effect if the request has finished.
  virtual void Cancel(uint64_t id) = 0;
  // Holds a prefix of these tokens, 1 or more, as if a lost group had taken it
  // along: it is in no memory, and runs when something begins with it; then it
  // may be evicted. Returns its id. Of the model's shape, and of its
  // vocabulary.
  virtual uint64_t HoldTokens(std::vector<int32_t> tokens,
                              std::shared_ptr<const HeadPlan> plan,
                              std::string tenant) = 0;
  // The tokens of a held prefix, wherever it is. NotFound: none of that id is
  // held. FailedPrecondition: it began under another plan, or with tokens that
  // failed again and again.
  virtual absl::StatusOr<std::vector<int32_t>> TokensOf(uint64_t id) const = 0;
  // Lets a prefix go: cancels it if it has not ended, takes no more forks of
  // it, and frees its KV once those are gone that were taken before. Holding
  // one is a promise of memory that nobody else gets: requests that do not fit
  // beside it wait. No effect for other ids.
  virtual void Release(uint64_t id) = 0;

  // Moves a held prefix to files of the workers, so that its memory is free;
  // and back. The sink hears OnFinished alone, once all ranks have moved
  // theirs, or with the error of one that could not, and then nothing has
  // changed. Returns an id, of no use. Every other step waits as long as the
  // files take.
  //
  // NotFound: no such prefix is held. FailedPrecondition: it is elsewhere or on
  // its way, or requests that begin with it wait or run. ResourceExhausted:
  // kMaxParks others wait, or Unpark's memory is not free now. Submit refuses
  // forks of a parked prefix with FailedPrecondition; Release takes it. One
  // that a lost group took along is in no memory already: both succeed at once,
  // and it is run again when something begins with it.
  virtual absl::StatusOr<uint64_t> Park(uint64_t id,
                                        std::shared_ptr<RequestSink> sink) = 0;
  virtual absl::StatusOr<uint64_t> Unpark(
      uint64_t id, std::shared_ptr<RequestSink> sink) = 0;

  // There is no group. What runs is kept: what its sink has not heard is
  // computed again by the next group, from the request's tokens, so that the
  // sink hears but a pause. Prefixes are kept as tokens, and run again when
  // something begins with them; moves of prefixes end with Unavailable. What
  // waits for longer than rebuild_wait ends with Unavailable. Had a group been
  // lost kMaxLosses times while a request ran, without its coming any further,
  // it ends with Internal. Another call changes nothing but the reason.
  virtual void Suspend(absl::Status reason, GroupEnd end) = 0;
  // A new group stands, with empty caches of the given capacity. Requests that
  // can't fit there end with OutOfRange.
  virtual ResumeReport Resume(KvCapacity capacity) = 0;
  // Ends all requests with `reason`, which new ones get too. OK takes new ones
  // again, and what is held is held still.
  virtual void Refuse(absl::Status reason) = 0;
  // The same for good.
  virtual void Close(absl::Status reason) = 0;

  // What admission would say to a request of that size, without one. Errors
  // are Submit's: Unavailable while no group stands, InvalidArgument for sizes
  // or a plan that can't be.
  virtual absl::StatusOr<SizeAnswer> AskSize(
      const SizeQuestion& question) const = 0;

  virtual EngineStats stats() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ENGINE_H_
