// The answers that were asked for under an idempotency key, so that a retry
// does not do their work again.

#ifndef HEADWISE_SERVER_FRONTENDS_ANSWER_BOOK_H_
#define HEADWISE_SERVER_FRONTENDS_ANSWER_BOOK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/server_context.h"
#include "server/frontends/keyed_answer.h"

namespace headwise {

inline constexpr char kIdempotencyKey[] = "x-idempotency-key";
// Of all tenants. Past them, those that were begun first and have ended are
// forgotten; if none has, an answer is not kept, and a retry does its work
// again: with the same bits, so that is all it costs.
inline constexpr size_t kMaxKeyedAnswers = 1024;
inline constexpr int64_t kMaxAnswerBookBytes = 64 << 20;
// Since it was begun or came again.
inline constexpr absl::Duration kKeyedAnswerTtl = absl::Minutes(10);

// The call's metadata of that name; empty: none. InvalidArgument unless it is 1
// to 64 letters, digits, '-', '_' and '.', and there once.
absl::StatusOr<std::string> IdempotencyKeyOf(
    const grpc::CallbackServerContext& context);

// What is asked for, and by whom. Another tenant's key is another one.
struct AnswerKey {
  std::string tenant;
  std::string key;          // empty: none
  std::string fingerprint;  // of all that the answer depends on
};

// Thread-safe.
class AnswerBook {
 public:
  explicit AnswerBook(const Clock& clock) : clock_(clock) {}

  struct Begun {
    // Null: there is no room for one, or the server ends.
    std::shared_ptr<KeyedAnswer> answer;
    bool is_first = false;  // whose caller is to do the work
  };
  // InvalidArgument: the tenant has asked something else under that key.
  // `received` by the caller, of an answer that is new.
  absl::StatusOr<Begun> Begin(const AnswerKey& key,
                              const std::vector<int32_t>& received);

  // Work that nobody reads stops at once, now and later.
  void StopLingering();

 private:
  using Id = std::pair<std::string, std::string>;  // tenant, key
  struct Entry {
    std::shared_ptr<KeyedAnswer> answer;
    absl::Time last_use;
  };

  // True if there is room for one more.
  bool MakeRoomLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  absl::Mutex mutex_;
  std::map<Id, Entry> answers_ ABSL_GUARDED_BY(mutex_);
  bool stop_lingering_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ANSWER_BOOK_H_
