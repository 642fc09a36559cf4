// Prompt sessions in the coordinator's books.

#ifndef HEADWISE_SERVER_FRONTENDS_BOOKED_SESSIONS_H_
#define HEADWISE_SERVER_FRONTENDS_BOOKED_SESSIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/books/coordinator_books.h"
#include "server/frontends/plan_store.h"
#include "server/frontends/prompt_sessions.h"

namespace headwise {

class BookedSessions final : public SessionBooks {
 public:
  // Must outlive it.
  explicit BookedSessions(CoordinatorBooks& books) : books_(books) {}

  // Puts what is booked into `sessions`, which has none yet, and their plans
  // into `plans`. One whose tokens or plan can't be used is forgotten: a
  // warning.
  absl::Status RestoreTo(PromptSessions& sessions, PlanStore& plans,
                         int64_t vocab_size);

  absl::Status Append(const PromptSession& session,
                      const std::vector<int32_t>& tokens) override;
  absl::Status Remove(const std::string& id) override {
    return books_.Remove(id);
  }
  absl::Status Sync() override { return books_.Checkpoint(); }

 private:
  CoordinatorBooks& books_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_BOOKED_SESSIONS_H_
