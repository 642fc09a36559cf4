// What AttentionSessions does on its own: idle sessions go, others stay known
// to their workers.

#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/attention/attention_sessions.h"
#include "server/attention/gather.h"

namespace headwise {
namespace {

// Of calls that no caller waits for.
constexpr absl::Duration kHouseTimeout = absl::Seconds(2);

}  // namespace

void AttentionSessions::Loop() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                  options_.interval)) {
        return;
      }
    }
    Step();
  }
}

void AttentionSessions::DeleteOn(const std::vector<Worker>& workers,
                                 const std::string& id) {
  Gather<Nothing> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Delete(id, kHouseTimeout, answers.Slot(i));
  }
  answers.Wait();
}

void AttentionSessions::Step() {
  const std::shared_ptr<const MembershipView> view = options_.view();
  std::set<uint64_t> members;
  for (const Member& member : view->members) {
    members.insert(member.registration_id);
  }
  std::map<uint64_t, std::shared_ptr<AttentionLink>> links;
  std::vector<std::shared_ptr<AttentionSession>> idle;
  std::vector<std::shared_ptr<AttentionSession>> alive;
  {
    absl::MutexLock lock(&mutex_);
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const bool is_idle = entry->second.session->IsIdle(clock_.Now());
      (is_idle ? idle : alive).push_back(entry->second.session);
      entry = is_idle ? entries_.erase(entry) : std::next(entry);
    }
    for (auto link = links_.begin(); link != links_.end();) {
      link =
          members.count(link->first) > 0 ? std::next(link) : links_.erase(link);
    }
    links = links_;
  }
  for (const auto& session : idle) DeleteOn(session->workers(), session->id());

  Gather<std::vector<std::string>> answers(links.size());
  size_t slot = 0;
  for (const auto& [registration_id, link] : links) {
    std::vector<std::string> ids;
    for (const auto& session : alive) {
      for (const Worker& worker : session->workers()) {
        if (worker.registration_id == registration_id) {
          ids.push_back(session->id());
        }
      }
    }
    link->Renew(std::move(ids), kHouseTimeout, answers.Slot(slot++));
  }
  std::set<std::string> missing;
  for (const auto& answer : answers.Wait()) {
    if (answer.ok()) missing.insert(answer->begin(), answer->end());
  }
  for (const auto& session : alive) {
    session->CheckMembers(*view);
    if (missing.count(session->id()) > 0) {
      session->MarkLost(absl::DataLossError(
          "a worker does not have its part of the session any more"));
    }
  }
}

}  // namespace headwise
