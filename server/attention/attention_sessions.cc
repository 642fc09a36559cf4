#include "server/attention/attention_sessions.h"

#include <sys/random.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/attention/attend_call.h"
#include "server/attention/chunk_check.h"
#include "server/attention/gather.h"
#include "server/attention/unit_shares.h"

namespace headwise {
namespace {

// 128 bits that nobody can guess.
std::string NewSessionId() {
  std::array<char, 16> bytes;
  HEADWISE_CHECK(getrandom(bytes.data(), bytes.size(), 0) ==
                 static_cast<ssize_t>(bytes.size()));
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

absl::Status NoSuchSession() {
  return absl::NotFoundError(
      "session_id: no such session, or it was idle for too long");
}

// Where a chunk lies with respect to what is stored: OK if it is next.
absl::Status CheckOffset(const AttentionConfig& config, int64_t length,
                         const Chunk& chunk, int64_t num_positions) {
  const int64_t end = chunk.offset + num_positions;
  const std::string expected =
      absl::StrCat("; expected offset ", length, ", got ", chunk.offset);
  if (chunk.offset > length) {
    return absl::OutOfRangeError(
        absl::StrCat("offset: there is a gap before the chunk", expected));
  }
  if (chunk.offset < length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "offset: positions ", chunk.offset, " to ", std::min(end, length),
        " are stored, and not as this chunk", expected));
  }
  if (end > config.shape.max_positions) {
    return absl::OutOfRangeError(
        absl::StrCat("offset: the chunk ends at position ", end,
                     ", max_positions is ", config.shape.max_positions));
  }
  return absl::OkStatus();
}

}  // namespace

AttentionSessions::AttentionSessions(AttentionSessionsOptions options,
                                     const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      kernels_(KernelsFor(IsasOfThisMachine().back())) {
  if (options_.interval != absl::InfiniteDuration()) {
    thread_ = std::thread([this] { Loop(); });
  }
}

AttentionSessions::~AttentionSessions() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<AttentionLink> AttentionSessions::LinkTo(const Member& member) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = links_.find(member.registration_id);
    if (found != links_.end()) return found->second;
  }
  std::shared_ptr<AttentionLink> link = options_.make_link(member.info);
  absl::MutexLock lock(&mutex_);
  return links_.emplace(member.registration_id, std::move(link)).first->second;
}

std::vector<AttentionSession::Worker> AttentionSessions::ShareOut(
    const AttentionConfig& config) {
  const std::shared_ptr<const MembershipView> view = options_.view();
  if (view->members.empty()) return {};
  std::vector<double> speeds;
  for (const Member& member : view->members) {
    speeds.push_back(member.info.speed);
  }
  std::vector<std::vector<UnitShare>> shares =
      ShareUnits(config.shape, config.policies, speeds);
  std::vector<Worker> workers;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i].empty()) continue;
    const Member& member = view->members[i];
    workers.push_back({member.info.name, member.registration_id, LinkTo(member),
                       std::move(shares[i]), 0});
  }
  return workers;
}

absl::StatusOr<std::shared_ptr<AttentionSession>> AttentionSessions::OpenHidden(
    const Caller& caller, const AttentionConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckConfig(config));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock_));
  std::vector<Worker> workers = ShareOut(config);
  if (workers.empty()) {
    return absl::UnavailableError("there are no workers yet");
  }
  const std::string id = NewSessionId();
  Gather<int64_t> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Open({id, config.shape, workers[i].units}, timeout,
                          answers.Slot(i));
  }
  absl::Status refused;
  const auto& all = answers.Wait();
  for (size_t i = 0; i < workers.size(); ++i) {
    if (all[i].ok()) {
      workers[i].reserved_bytes = *all[i];
    } else if (refused.ok()) {
      refused = absl::Status(all[i].status().code(),
                             absl::StrCat("worker ", workers[i].name, ": ",
                                          all[i].status().message()));
    }
  }
  auto session = std::make_shared<AttentionSession>(
      id, caller.tenant, config, std::move(workers), clock_.Now());
  if (refused.ok()) refused = Add(session, /*is_hidden=*/true);
  if (!refused.ok()) {
    DeleteOn(session->workers(), id);
    return refused;
  }
  return session;
}

absl::Status AttentionSessions::Add(
    const std::shared_ptr<AttentionSession>& session, bool is_hidden) {
  absl::MutexLock lock(&mutex_);
  if (entries_.size() >= options_.max_sessions) {
    return absl::ResourceExhaustedError(
        absl::StrCat(entries_.size(), " sessions are open, at most ",
                     options_.max_sessions));
  }
  entries_[session->id()] = {session, is_hidden};
  return absl::OkStatus();
}

void AttentionSessions::Publish(
    const std::shared_ptr<AttentionSession>& session) {
  absl::MutexLock lock(&mutex_);
  entries_[session->id()].is_hidden = false;
}

void AttentionSessions::Drop(const std::shared_ptr<AttentionSession>& session) {
  {
    absl::MutexLock lock(&mutex_);
    entries_.erase(session->id());
  }
  DeleteOn(session->workers(), session->id());
}

absl::StatusOr<SessionInfo> AttentionSessions::Open(
    const Caller& caller, const AttentionConfig& config) {
  HEADWISE_ASSIGN_OR_RETURN(const std::shared_ptr<AttentionSession> session,
                            OpenHidden(caller, config));
  Publish(session);
  return session->info();
}

AttentionSessions::Entries::iterator AttentionSessions::FindLocked(
    const Caller& caller, const std::string& session_id) {
  const auto found = entries_.find(session_id);
  const bool is_visible = found != entries_.end() && !found->second.is_hidden &&
                          found->second.session->tenant() == caller.tenant;
  return is_visible ? found : entries_.end();
}

absl::StatusOr<SessionUse> AttentionSessions::Use(
    const Caller& caller, const std::string& session_id) {
  std::shared_ptr<AttentionSession> session;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = FindLocked(caller, session_id);
    if (found == entries_.end()) return NoSuchSession();
    session = found->second.session;
  }
  session->CheckMembers(*options_.view());
  return SessionUse(std::move(session), clock_);
}

absl::StatusOr<AppendOutcome> AttentionSessions::Append(
    const Caller& caller, const std::string& session_id, const Chunk& chunk) {
  HEADWISE_ASSIGN_OR_RETURN(const SessionUse session, Use(caller, session_id));
  HEADWISE_ASSIGN_OR_RETURN(const SessionChange change,
                            SessionChange::Begin(*session));
  const SessionShape& shape = session->config().shape;
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_positions,
                            PositionsOf(shape, chunk));
  HEADWISE_RETURN_IF_ERROR(CheckHash(chunk));
  const int64_t length = session->length();
  if (chunk.offset < length && session->HasChunk(chunk, num_positions)) {
    return AppendOutcome{length, true};
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckOffset(session->config(), length, chunk, num_positions));
  HEADWISE_RETURN_IF_ERROR(CheckNumbers(shape, chunk, num_positions));

  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock_));
  const std::vector<Worker>& workers = session->workers();
  Gather<Nothing> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Stage(
        StageFor(session_id, shape, workers[i].units, chunk, num_positions),
        timeout, answers.Slot(i));
  }
  const auto& all = answers.Wait();
  for (size_t i = 0; i < workers.size(); ++i) {
    if (all[i].ok()) continue;
    return Outcome(session_id, session->Explain(workers[i], all[i].status()));
  }
  session->Store(chunk, num_positions);
  return AppendOutcome{chunk.offset + num_positions, false};
}

absl::StatusOr<AttendAnswer> AttentionSessions::Attend(
    const Caller& caller, const std::string& session_id,
    const AttendQuery& query) {
  HEADWISE_ASSIGN_OR_RETURN(const SessionUse session, Use(caller, session_id));
  HEADWISE_RETURN_IF_ERROR(session->lost());
  absl::StatusOr<AttendAnswer> answer =
      AttendOverWorkers(*session, query, caller, kernels_, clock_);
  if (!answer.ok()) return Outcome(session_id, answer.status());
  return answer;
}

absl::Status AttentionSessions::Outcome(const std::string& session_id,
                                        const absl::Status& status) const {
  absl::MutexLock lock(&mutex_);
  return entries_.count(session_id) > 0 ? status : NoSuchSession();
}

absl::StatusOr<SessionInfo> AttentionSessions::Fork(
    const Caller& caller, const std::string& session_id) {
  HEADWISE_ASSIGN_OR_RETURN(const SessionUse session, Use(caller, session_id));
  HEADWISE_ASSIGN_OR_RETURN(const SessionChange change,
                            SessionChange::Begin(*session));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock_));
  const std::string id = NewSessionId();
  std::vector<Worker> workers = session->workers();
  Gather<int64_t> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Fork(session_id, id, session->length(), timeout,
                          answers.Slot(i));
  }
  absl::Status refused;
  const auto& all = answers.Wait();
  for (size_t i = 0; i < workers.size(); ++i) {
    if (all[i].ok()) {
      workers[i].reserved_bytes = *all[i];
    } else if (refused.ok()) {
      refused = session->Explain(workers[i], all[i].status());
    }
  }
  auto fork = std::make_shared<AttentionSession>(
      id, caller.tenant, session->config(), std::move(workers), clock_.Now());
  fork->StoreAll(session->length(), session->chunks());
  if (refused.ok()) refused = Add(fork, /*is_hidden=*/false);
  if (!refused.ok()) {
    DeleteOn(fork->workers(), id);
    return refused;
  }
  return fork->info();
}

absl::StatusOr<SessionInfo> AttentionSessions::Get(
    const Caller& caller, const std::string& session_id) {
  HEADWISE_ASSIGN_OR_RETURN(const SessionUse session, Use(caller, session_id));
  return session->info();
}

std::vector<SessionInfo> AttentionSessions::List(const Caller& caller) {
  std::vector<std::shared_ptr<AttentionSession>> sessions;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, entry] : entries_) {
      if (!entry.is_hidden && entry.session->tenant() == caller.tenant) {
        sessions.push_back(entry.session);
      }
    }
  }
  const std::shared_ptr<const MembershipView> view = options_.view();
  std::vector<SessionInfo> infos;
  for (const auto& session : sessions) {
    session->CheckMembers(*view);
    infos.push_back(session->info());
  }
  return infos;
}

absl::Status AttentionSessions::Delete(const Caller& caller,
                                       const std::string& session_id) {
  std::shared_ptr<AttentionSession> session;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = FindLocked(caller, session_id);
    if (found == entries_.end()) return NoSuchSession();
    session = found->second.session;
    entries_.erase(found);
  }
  DeleteOn(session->workers(), session_id);
  return absl::OkStatus();
}

AttentionStats AttentionSessions::stats() const {
  absl::MutexLock lock(&mutex_);
  AttentionStats stats;
  for (const auto& [id, entry] : entries_) {
    ++stats.num_sessions;
    for (const Worker& worker : entry.session->workers()) {
      stats.reserved_bytes += worker.reserved_bytes;
    }
  }
  return stats;
}

}  // namespace headwise
