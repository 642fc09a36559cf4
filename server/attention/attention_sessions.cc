#include "server/attention/attention_sessions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/attention/attend_call.h"
#include "server/attention/chunk_check.h"
#include "server/attention/unit_shares.h"
#include "server/leases/lease_id.h"

namespace headwise {
namespace {

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
    : kernels_(KernelsFor(IsasOfThisMachine().back())),
      book_({"session", "sessions"}, std::move(options), clock) {}

std::vector<AttentionSession::Worker> AttentionSessions::ShareOut(
    const AttentionConfig& config) {
  const std::shared_ptr<const MembershipView> view = book_.view();
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
    workers.push_back({member.info.name, member.registration_id,
                       book_.LinkTo(member), std::move(shares[i]), 0});
  }
  return workers;
}

absl::StatusOr<std::shared_ptr<AttentionSession>> AttentionSessions::OpenHidden(
    const Caller& caller, const AttentionConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckConfig(config));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  std::vector<Worker> workers = ShareOut(config);
  if (workers.empty()) {
    return absl::UnavailableError("there are no workers yet");
  }
  const std::string id = NewLeaseId();
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
      id, caller.tenant, config, std::move(workers), clock().Now());
  if (refused.ok()) refused = book_.Add(session, /*is_hidden=*/true);
  if (!refused.ok()) {
    book_.DeleteOn(session->workers(), id);
    return refused;
  }
  return session;
}

absl::StatusOr<SessionInfo> AttentionSessions::Open(
    const Caller& caller, const AttentionConfig& config) {
  HEADWISE_ASSIGN_OR_RETURN(const std::shared_ptr<AttentionSession> session,
                            OpenHidden(caller, config));
  Publish(session);
  return session->info();
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
                            TimeoutFor(caller, clock()));
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
    return book_.Outcome(session_id,
                         session->Explain(workers[i], all[i].status()));
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
      AttendOverWorkers(*session, query, caller, kernels_, clock());
  if (!answer.ok()) return book_.Outcome(session_id, answer.status());
  return answer;
}

absl::StatusOr<SessionInfo> AttentionSessions::Fork(
    const Caller& caller, const std::string& session_id) {
  HEADWISE_ASSIGN_OR_RETURN(const SessionUse session, Use(caller, session_id));
  HEADWISE_ASSIGN_OR_RETURN(const SessionChange change,
                            SessionChange::Begin(*session));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  const std::string id = NewLeaseId();
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
  const std::shared_ptr<AttentionSession> fork = AttentionSession::ForkOf(
      *session, id, caller.tenant, std::move(workers), clock().Now());
  if (refused.ok()) refused = book_.Add(fork, /*is_hidden=*/false);
  if (!refused.ok()) {
    book_.DeleteOn(fork->workers(), id);
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
  std::vector<SessionInfo> infos;
  for (const auto& session : book_.List(caller)) {
    infos.push_back(session->info());
  }
  return infos;
}

SessionLifetimes AttentionSessions::lifetimes() {
  return {[this](const Caller& caller, const std::string& session_id)
              -> absl::StatusOr<std::shared_ptr<void>> {
            HEADWISE_ASSIGN_OR_RETURN(SessionUse use, Use(caller, session_id));
            return std::make_shared<SessionUse>(std::move(use));
          },
          [this](const std::string& session_id) {
            return book_.Has(session_id);
          }};
}

absl::Status AttentionSessions::Delete(const Caller& caller,
                                       const std::string& session_id) {
  return book_.Delete(caller, session_id);
}

}  // namespace headwise
