// The prompts that stay at the workers for requests to begin with.

#ifndef HEADWISE_SERVER_FRONTENDS_PROMPT_SESSIONS_H_
#define HEADWISE_SERVER_FRONTENDS_PROMPT_SESSIONS_H_

#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/frontends/plan_store.h"
#include "server/scheduler/engine.h"

namespace headwise {

inline constexpr size_t kMaxPromptSessions = 16'384;
// Of all together: the coordinator keeps them, and of what is evicted nothing
// else is kept. 512 MiB.
inline constexpr int64_t kMaxPromptSessionTokens = int64_t{128} << 20;
inline constexpr absl::Duration kPromptSessionTtl = absl::Hours(1);

struct PromptSession {
  enum class State { kReady, kBusy, kParked };
  std::string id;
  std::string tenant;
  StoredPlan plan;
  uint64_t prefix_id = 0;  // of the engine; 0: nothing has run
  int64_t num_tokens = 0;  // of the prefix
  int64_t promised = 0;    // tokens that it waits for
  State state = State::kBusy;
  absl::Time last_use;
  bool is_booked = true;  // as far as there are books
};

// Where sessions outlive this process. Thread-safe; its writes go to the kernel
// alone.
class SessionBooks {
 public:
  virtual ~SessionBooks() = default;
  // `tokens` follow those that the session has.
  virtual absl::Status Append(const PromptSession& session,
                              const std::vector<int32_t>& tokens) = 0;
  virtual absl::Status Remove(const std::string& id) = 0;
  // Now and then: what was written is synced.
  virtual absl::Status Sync() = 0;
};

// Thread-safe; calls the engine without a lock held. Errors: NotFound for a
// session that is not the tenant's; FailedPrecondition for one that is busy, or
// parked where it should not be.
class PromptSessions {
 public:
  // Both must outlive it. `interval`: between looks for idle sessions;
  // infinite: tests call Expire.
  PromptSessions(Engine& engine, const Clock& clock,
                 absl::Duration interval = absl::Seconds(10));
  // To be called before any other. `books` must outlive it.
  void UseBooks(SessionBooks* books) { books_ = books; }
  // One that the books had; it is ready, and idle from now on.
  void Restore(const std::string& id, const std::string& tenant,
               StoredPlan plan, std::vector<int32_t> tokens);
  ~PromptSessions();

  // ResourceExhausted: there are kMaxPromptSessionTokens. O(sessions).
  absl::Status CheckRoom() const;
  // A busy session of no tokens, which may have `promised` ones by Fill.
  // ResourceExhausted: kMaxPromptSessions exist, or with the promised there
  // would be more than kMaxPromptSessionTokens.
  absl::StatusOr<PromptSession> Open(const std::string& tenant, StoredPlan plan,
                                     int64_t promised = 0);
  // Makes the tokens, as many as were promised, all of a session that was just
  // opened: they run once a request begins with it. To be returned.
  void Fill(PromptSession& session, std::vector<int32_t> tokens);
  // Makes it busy for the caller, who gives it back.
  absl::StatusOr<PromptSession> Claim(const std::string& tenant,
                                      const std::string& id,
                                      PromptSession::State state);
  // `tokens` have run, after those of a claimed session. False: the books can't
  // take them, or could not before, and have forgotten the session, which goes
  // on in memory.
  bool Book(const PromptSession& session, const std::vector<int32_t>& tokens);
  // What became of a claimed session; one of no tokens is forgotten. One that
  // was deleted meanwhile is let go.
  void Return(const PromptSession& session);

  // A session that is ready, to begin a request with.
  absl::StatusOr<PromptSession> Use(const std::string& tenant,
                                    const std::string& id);
  // The engine does not know its prefix: the group that held it is gone.
  // DataLoss, to be told.
  absl::Status Forget(const std::string& id);

  absl::StatusOr<PromptSession> Get(const std::string& tenant,
                                    const std::string& id) const;
  std::vector<PromptSession> List(const std::string& tenant) const;
  absl::Status Delete(const std::string& tenant, const std::string& id);

  // Deletes sessions that were idle for kPromptSessionTtl.
  void Expire();
  absl::Time Now() const { return clock_.Now(); }

 private:
  using Sessions = std::map<std::string, PromptSession>;
  absl::Status CheckRoomLocked(int64_t promised) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Sessions::iterator> FindLocked(const std::string& tenant,
                                                const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Sessions::iterator> FindInLocked(const std::string& tenant,
                                                  const std::string& id,
                                                  PromptSession::State state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unbook(const std::string& id);
  // Makes the tokens all of a session that has none yet.
  void Hold(PromptSession& session, std::vector<int32_t> tokens);
  void Loop();

  Engine& engine_;
  const Clock& clock_;
  const absl::Duration interval_;
  SessionBooks* books_ = nullptr;  // none: they end with this process
  mutable absl::Mutex mutex_;
  Sessions sessions_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PROMPT_SESSIONS_H_
