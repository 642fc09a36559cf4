#include "server/frontends/booked_sessions.h"

#include <utility>

#include "base/status_macros.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/request_parser.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

// As it was when the session began; it is stored again, or still.
absl::StatusOr<StoredPlan> PlanOf(const BookedSession& session,
                                  PlanStore& plans) {
  if (session.plan.empty()) return plans.Find(kFullPlan);
  HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, DecodeHeadPlan(session.plan));
  return plans.Put(std::move(plan));
}

absl::Status RestoreOne(BookedSession session, PromptSessions& sessions,
                        PlanStore& plans, int64_t vocab_size) {
  HEADWISE_RETURN_IF_ERROR(CheckTokenIds("tokens", session.tokens, vocab_size));
  HEADWISE_ASSIGN_OR_RETURN(StoredPlan plan, PlanOf(session, plans));
  sessions.Restore(session.id, session.tenant, std::move(plan),
                   std::move(session.tokens));
  return absl::OkStatus();
}

}  // namespace

absl::Status BookedSessions::RestoreTo(PromptSessions& sessions,
                                       PlanStore& plans, int64_t vocab_size) {
  std::vector<std::string> lost;
  HEADWISE_ASSIGN_OR_RETURN(std::vector<BookedSession> booked,
                            books_.TakeSessions(&lost));
  for (BookedSession& session : booked) {
    const std::string id = session.id;
    const absl::Status restored =
        RestoreOne(std::move(session), sessions, plans, vocab_size);
    if (restored.ok()) continue;
    spdlog::warn("session {} does not come back: {}", id, restored.ToString());
    HEADWISE_RETURN_IF_ERROR(books_.Remove(id));
  }
  for (const std::string& id : lost) {
    spdlog::warn("session {} does not come back: tokens are missing", id);
  }
  return absl::OkStatus();
}

absl::Status BookedSessions::Append(const PromptSession& session,
                                    const std::vector<int32_t>& tokens) {
  return books_.Append({.id = session.id,
                        .tenant = session.tenant,
                        .plan = session.plan.plan == nullptr
                                    ? ""
                                    : EncodeHeadPlan(*session.plan.plan),
                        .tokens = tokens},
                       session.num_tokens);
}

}  // namespace headwise
