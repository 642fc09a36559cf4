#include "server/frontends/prompt_sessions.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/pulse.h"
#include "base/status_macros.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

// Nobody guesses it.
std::string RandomId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&id, absl::Hex(random(), absl::kZeroPad8));
  }
  return id;
}

absl::Status NoSession(const std::string& id) {
  return WithFacts(
      absl::NotFoundError(
          absl::StrCat("session_id: no session \"", id.substr(0, 64), "\"")),
      {.resource_type = "session", .resource_name = id.substr(0, 64)});
}

}  // namespace

PromptSessions::PromptSessions(Engine& engine, const Clock& clock,
                               absl::Duration interval)
    : engine_(engine), clock_(clock), interval_(interval) {
  if (interval != absl::InfiniteDuration()) {
    thread_ = std::thread([this] { Loop(); });
  }
}

PromptSessions::~PromptSessions() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void PromptSessions::Loop() {
  ThreadPulse pulse("hw-sessions");
  while (true) {
    pulse.Beat(interval_ + kPulseAllowance);
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) {
        return;
      }
    }
    Expire();
    if (books_ == nullptr) continue;
    if (const absl::Status synced = books_->Sync(); !synced.ok()) {
      spdlog::warn("{}", synced.ToString());
    }
  }
}

void PromptSessions::Hold(PromptSession& session, std::vector<int32_t> tokens) {
  session.num_tokens = static_cast<int64_t>(tokens.size());
  session.prefix_id =
      engine_.HoldTokens(std::move(tokens), session.plan.plan, session.tenant);
  session.state = PromptSession::State::kReady;
  session.last_use = clock_.Now();
}

void PromptSessions::Restore(const std::string& id, const std::string& tenant,
                             StoredPlan plan, std::vector<int32_t> tokens) {
  PromptSession session;
  session.id = id;
  session.tenant = tenant;
  session.plan = std::move(plan);
  Hold(session, std::move(tokens));
  absl::MutexLock lock(&mutex_);
  sessions_.emplace(id, std::move(session));
}

bool PromptSessions::Book(const PromptSession& session,
                          const std::vector<int32_t>& tokens) {
  if (books_ == nullptr || !session.is_booked) return session.is_booked;
  const absl::Status booked = books_->Append(session, tokens);
  if (booked.ok()) return true;
  spdlog::warn("session {} will not outlive this process: {}", session.id,
               booked.ToString());
  Unbook(session.id);  // or it would come back without its end
  return false;
}

void PromptSessions::Unbook(const std::string& id) {
  if (books_ == nullptr) return;
  if (const absl::Status removed = books_->Remove(id); !removed.ok()) {
    spdlog::warn("{}", removed.ToString());
  }
}

absl::StatusOr<PromptSessions::Sessions::iterator> PromptSessions::FindLocked(
    const std::string& tenant, const std::string& id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second.tenant != tenant) {
    return NoSession(id);
  }
  return found;
}

absl::StatusOr<PromptSessions::Sessions::iterator> PromptSessions::FindInLocked(
    const std::string& tenant, const std::string& id,
    PromptSession::State state) {
  HEADWISE_ASSIGN_OR_RETURN(const auto found, FindLocked(tenant, id));
  const PromptSession::State now = found->second.state;
  if (now == state) return found;
  const char* why = now == PromptSession::State::kBusy
                        ? "is uploaded to, parked or resumed now"
                    : now == PromptSession::State::kParked
                        ? "is parked; Resume comes first"
                        : "is not parked";
  return absl::FailedPreconditionError(
      absl::StrCat("session_id: session ", id, " ", why));
}

absl::Status PromptSessions::CheckRoomLocked(int64_t promised) const {
  int64_t num_tokens = 0;
  for (const auto& [id, session] : sessions_) {
    num_tokens += session.num_tokens + session.promised;
  }
  if (num_tokens < kMaxPromptSessionTokens &&
      promised <= kMaxPromptSessionTokens - num_tokens) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "the sessions have ", num_tokens, " tokens",
      promised > 0 ? absl::StrCat(", this one has ", promised) : "",
      ", at most ", kMaxPromptSessionTokens));
}

absl::Status PromptSessions::CheckRoom() const {
  absl::MutexLock lock(&mutex_);
  return CheckRoomLocked(/*promised=*/0);
}

absl::StatusOr<PromptSession> PromptSessions::Open(const std::string& tenant,
                                                   StoredPlan plan,
                                                   int64_t promised) {
  PromptSession session;
  session.id = RandomId();
  session.tenant = tenant;
  session.plan = std::move(plan);
  session.promised = promised;
  session.last_use = clock_.Now();
  absl::MutexLock lock(&mutex_);
  if (sessions_.size() >= kMaxPromptSessions) {
    return absl::ResourceExhaustedError(absl::StrCat(
        sessions_.size(), " sessions exist, at most ", kMaxPromptSessions));
  }
  HEADWISE_RETURN_IF_ERROR(CheckRoomLocked(promised));
  sessions_.emplace(session.id, session);
  return session;
}

void PromptSessions::Fill(PromptSession& session, std::vector<int32_t> tokens) {
  session.promised = 0;
  session.is_booked = Book(session, tokens);
  Hold(session, std::move(tokens));
}

absl::StatusOr<PromptSession> PromptSessions::Claim(
    const std::string& tenant, const std::string& id,
    PromptSession::State state) {
  absl::MutexLock lock(&mutex_);
  HEADWISE_ASSIGN_OR_RETURN(const auto found, FindInLocked(tenant, id, state));
  found->second.state = PromptSession::State::kBusy;
  return found->second;
}

void PromptSessions::Return(const PromptSession& session) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = sessions_.find(session.id);
    if (found != sessions_.end()) {
      found->second = session;
      found->second.last_use = clock_.Now();
      if (session.num_tokens > 0) return;
      sessions_.erase(found);
    }
  }
  Unbook(session.id);
  if (session.prefix_id != 0) engine_.Release(session.prefix_id);
}

absl::StatusOr<PromptSession> PromptSessions::Use(const std::string& tenant,
                                                  const std::string& id) {
  absl::MutexLock lock(&mutex_);
  HEADWISE_ASSIGN_OR_RETURN(
      const auto found, FindInLocked(tenant, id, PromptSession::State::kReady));
  found->second.last_use = clock_.Now();
  return found->second;
}

absl::Status PromptSessions::Forget(const std::string& id) {
  {
    absl::MutexLock lock(&mutex_);
    sessions_.erase(id);
  }
  Unbook(id);
  return absl::DataLossError(
      absl::StrCat("session ", id,
                   " is gone with the workers that held it; upload it "
                   "again"));
}

absl::StatusOr<PromptSession> PromptSessions::Get(const std::string& tenant,
                                                  const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second.tenant != tenant) {
    return NoSession(id);
  }
  return found->second;
}

std::vector<PromptSession> PromptSessions::List(
    const std::string& tenant) const {
  absl::MutexLock lock(&mutex_);
  std::vector<PromptSession> list;
  for (const auto& [id, session] : sessions_) {
    if (session.tenant == tenant) list.push_back(session);
  }
  return list;
}

absl::Status PromptSessions::Delete(const std::string& tenant,
                                    const std::string& id) {
  uint64_t prefix_id = 0;
  {
    absl::MutexLock lock(&mutex_);
    HEADWISE_ASSIGN_OR_RETURN(const auto found, FindLocked(tenant, id));
    // Whoever has claimed it lets it go.
    if (found->second.state != PromptSession::State::kBusy) {
      prefix_id = found->second.prefix_id;
    }
    sessions_.erase(found);
  }
  Unbook(id);
  if (prefix_id != 0) engine_.Release(prefix_id);
  return absl::OkStatus();
}

void PromptSessions::Expire() {
  std::vector<std::pair<std::string, uint64_t>> gone;  // with their prefixes
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time oldest = clock_.Now() - kPromptSessionTtl;
    for (auto it = sessions_.begin(); it != sessions_.end();) {
      const PromptSession& session = it->second;
      if (session.state == PromptSession::State::kBusy ||
          session.last_use > oldest) {
        ++it;
        continue;
      }
      gone.emplace_back(session.id, session.prefix_id);
      it = sessions_.erase(it);
    }
  }
  for (const auto& [id, prefix_id] : gone) {
    Unbook(id);
    engine_.Release(prefix_id);
  }
}

}  // namespace headwise
