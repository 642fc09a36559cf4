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

namespace headwise {

// What a sequence of a request does with its tokens.
enum class WorkKind { kGenerate, kScore, kEmbed };

struct RequestUsage {
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t cached_tokens = 0;
  absl::Duration queue_time;
  absl::Duration prefill_time;
  absl::Duration decode_time;
};

// Receives what happens to one request. Calls come one at a time from the
// engine's thread and must not block; OnFinished is the last one and comes
// exactly once, with OK, Cancelled, DeadlineExceeded, Unavailable or another
// error.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void OnPrefill(int64_t processed_tokens, int64_t total_tokens) {}
  // False ends the sequence as finished (a stop string was found); the engine
  // then calls OnFinished(OK).
  virtual bool OnToken(const SliceResult& outcome) { return true; }
  // kScore, kEmbed: the outcome of rows [first_position, first_position +
  // rows).
  virtual void OnRows(int64_t first_position, const SliceResult& outcome) {}
  virtual void OnFinished(const absl::Status& status,
                          const RequestUsage& usage) = 0;
};

struct EngineRequest {
  std::string request_id;  // for logs
  WorkKind kind = WorkKind::kGenerate;
  std::vector<int32_t> prompt;  // 1 or more tokens, each in the vocabulary
  int64_t max_new_tokens = 0;   // kGenerate: >= 1
  SamplingOptions sampling;
  std::vector<int32_t> stop_tokens;  // end generation; reported by OnToken
  bool hash_logits = false;          // kScore
  absl::Time deadline = absl::InfiniteFuture();
};

struct EngineOptions {
  int64_t max_step_tokens = 512;  // rows in one step
  int64_t max_running_sequences = 64;
  int64_t max_queued_requests = 1024;
  int64_t prefill_chunk = 512;  // rows of one sequence in one step
  // Positions that the cluster's caches can hold: the least over ranks.
  int64_t kv_capacity_tokens = 0;
  int64_t kv_bytes_per_token = 0;  // over all ranks; for messages
  int64_t max_context_len = 0;     // tokens of one sequence
};

struct EngineStats {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t kv_tokens_used = 0;
  int64_t kv_tokens_capacity = 0;
  uint64_t steps_total = 0;
};

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
  // OnFinished; returns an id for Cancel. OutOfRange: it can never fit (needed
  // and available bytes, longest context that fits). ResourceExhausted: the
  // queue is full. Unavailable: the group is lost. On an error the sink is
  // never called.
  virtual absl::StatusOr<uint64_t> Submit(
      EngineRequest request, std::shared_ptr<RequestSink> sink) = 0;
  // The work stops within one step and the KV is freed; the sink hears
  // Cancelled. No effect if the request has finished.
  virtual void Cancel(uint64_t id) = 0;

  // The group was lost: all requests end with Unavailable and new ones are
  // refused until Resume.
  virtual void Suspend(absl::Status reason) = 0;
  // A new group stands, with empty caches of the given capacity.
  virtual void Resume(int64_t kv_capacity_tokens) = 0;

  virtual EngineStats stats() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ENGINE_H_
