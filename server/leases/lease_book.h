// The coordinator's book of what workers hold for tenants: found by name,
// renewed at the workers, ended when idle.

#ifndef HEADWISE_SERVER_LEASES_LEASE_BOOK_H_
#define HEADWISE_SERVER_LEASES_LEASE_BOOK_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/error_facts.h"
#include "base/pulse.h"
#include "base/status_macros.h"
#include "server/leases/caller.h"
#include "server/leases/gather.h"
#include "server/leases/leased.h"
#include "server/membership/membership.h"

namespace headwise {

// What messages call the things of a book; literals.
struct LeaseNoun {
  const char* one;   // "session"
  const char* many;  // "sessions"
};

template <typename Link>
struct LeaseBookOptions {
  std::function<std::shared_ptr<const MembershipView>()> view;
  std::function<std::shared_ptr<Link>(const MemberInfo&)> make_link;
  size_t max_entries = 1024;
  int64_t max_tenant_bytes = 0;  // of each tenant, at all workers; 0: no limit
  // Between looks for what is idle; a worker forgets what it does not hear of
  // for a minute. Infinite: tests call Step.
  absl::Duration interval = absl::Seconds(2);
};

struct LeaseStats {
  int64_t count = 0;
  int64_t reserved_bytes = 0;  // of all workers
};

// Thread-safe. Held is a Leased<Worker>, and Link its workers' link. Calls to
// workers block; none is made with a lock held.
template <typename Held, typename Link>
class LeaseBook {
 public:
  using Worker = typename Held::Worker;

  LeaseBook(LeaseNoun noun, LeaseBookOptions<Link> options, const Clock& clock)
      : noun_(noun), options_(std::move(options)), clock_(clock) {
    if (options_.interval != absl::InfiniteDuration()) {
      thread_ = std::thread([this] { Loop(); });
    }
  }
  ~LeaseBook() {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    if (thread_.joinable()) thread_.join();
  }

  const Clock& clock() const { return clock_; }
  std::shared_ptr<const MembershipView> view() const { return options_.view(); }

  std::shared_ptr<Link> LinkTo(const Member& member) {
    {
      absl::MutexLock lock(&mutex_);
      const auto found = links_.find(member.registration_id);
      if (found != links_.end()) return found->second;
    }
    std::shared_ptr<Link> link = options_.make_link(member.info);
    absl::MutexLock lock(&mutex_);
    return links_.emplace(member.registration_id, std::move(link))
        .first->second;
  }

  // Hidden: nobody finds it until it is published. ResourceExhausted: there are
  // too many, or its tenant has no room for it; AlreadyExists: one of that name
  // is there.
  absl::Status Add(const std::shared_ptr<Held>& held, bool is_hidden) {
    absl::MutexLock lock(&mutex_);
    if (entries_.count(held->id()) > 0) {
      return absl::AlreadyExistsError(absl::StrCat(noun_.one, "_id ",
                                                   held->id(), ": there is a ",
                                                   noun_.one, " of that name"));
    }
    if (entries_.size() >= options_.max_entries) {
      return absl::ResourceExhaustedError(
          absl::StrCat(entries_.size(), " ", noun_.many, " are open, at most ",
                       options_.max_entries));
    }
    HEADWISE_RETURN_IF_ERROR(CheckTenantLocked(*held));
    entries_[held->id()] = {held, is_hidden};
    return absl::OkStatus();
  }
  // No effect if it is over already.
  void Publish(const std::shared_ptr<Held>& held) {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(held->id());
    if (found != entries_.end()) found->second.is_hidden = false;
  }
  void Drop(const std::shared_ptr<Held>& held) {
    {
      absl::MutexLock lock(&mutex_);
      entries_.erase(held->id());
    }
    DeleteOn(held->workers(), held->id());
  }

  // NotFound for what is hidden or another tenant's, too.
  absl::StatusOr<LeaseUse<Held>> Use(const Caller& caller,
                                     const std::string& id) {
    std::shared_ptr<Held> held;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = FindLocked(caller, id);
      if (found == entries_.end()) return NoSuch(id);
      held = found->second.held;
    }
    held->CheckMembers(*view());
    return LeaseUse<Held>(std::move(held), clock_);
  }
  bool Has(const std::string& id) const {
    absl::MutexLock lock(&mutex_);
    return entries_.count(id) > 0;
  }
  // `status` of a call; NotFound if what it was about was deleted meanwhile.
  absl::Status Outcome(const std::string& id,
                       const absl::Status& status) const {
    return Has(id) ? status : NoSuch(id);
  }
  // The tenant's, by id.
  std::vector<std::shared_ptr<Held>> List(const Caller& caller) const {
    std::vector<std::shared_ptr<Held>> all;
    {
      absl::MutexLock lock(&mutex_);
      for (const auto& [id, entry] : entries_) {
        if (!entry.is_hidden && entry.held->tenant() == caller.tenant) {
          all.push_back(entry.held);
        }
      }
    }
    const std::shared_ptr<const MembershipView> members = view();
    for (const auto& held : all) held->CheckMembers(*members);
    return all;
  }
  absl::Status Delete(const Caller& caller, const std::string& id) {
    std::shared_ptr<Held> held;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = FindLocked(caller, id);
      if (found == entries_.end()) return NoSuch(id);
      held = found->second.held;
      entries_.erase(found);
    }
    DeleteOn(held->workers(), id);
    return absl::OkStatus();
  }
  // Waits; what can't be reached forgets it by itself.
  void DeleteOn(const std::vector<Worker>& workers, const std::string& id) {
    Gather<Nothing> answers(workers.size());
    for (size_t i = 0; i < workers.size(); ++i) {
      workers[i].link->Delete(id, kHouseTimeout, answers.Slot(i));
    }
    answers.Wait();
  }

  LeaseStats stats() const {
    absl::MutexLock lock(&mutex_);
    LeaseStats stats;
    for (const auto& [id, entry] : entries_) {
      ++stats.count;
      stats.reserved_bytes += entry.held->reserved_bytes();
    }
    return stats;
  }
  // Of all, hidden ones too.
  std::vector<std::shared_ptr<Held>> All() const {
    absl::MutexLock lock(&mutex_);
    std::vector<std::shared_ptr<Held>> all;
    for (const auto& [id, entry] : entries_) all.push_back(entry.held);
    return all;
  }

  // Deletes what is over, renews the rest at its workers.
  void Step() {
    std::vector<std::shared_ptr<Held>> alive = EndIdle();
    const std::shared_ptr<const MembershipView> members = view();
    std::map<uint64_t, std::shared_ptr<Link>> links = LinksOf(*members);
    Gather<std::vector<std::string>> answers(links.size());
    size_t slot = 0;
    for (const auto& [registration_id, link] : links) {
      std::vector<std::string> ids;
      for (const auto& held : alive) {
        for (const Worker& worker : held->workers()) {
          if (worker.registration_id == registration_id) {
            ids.push_back(held->id());
          }
        }
      }
      link->Renew(std::move(ids), kHouseTimeout, answers.Slot(slot++));
    }
    std::set<std::string> missing;
    for (const auto& answer : answers.Wait()) {
      if (answer.ok()) missing.insert(answer->begin(), answer->end());
    }
    for (const auto& held : alive) {
      held->CheckMembers(*members);
      if (missing.count(held->id()) > 0) {
        held->MarkLost(absl::DataLossError(
            absl::StrCat("a worker does not have its part of the ", noun_.one,
                         " any more")));
      }
    }
  }

 private:
  // Of calls that no caller waits for.
  static constexpr absl::Duration kHouseTimeout = absl::Seconds(2);

  struct Entry {
    std::shared_ptr<Held> held;
    bool is_hidden = false;
  };
  using Entries = std::map<std::string, Entry>;

  absl::Status NoSuch(const std::string& id) const {
    return WithFacts(
        absl::NotFoundError(absl::StrCat(noun_.one, "_id: no such ", noun_.one,
                                         ", or it was idle for too long")),
        {.resource_type = noun_.one, .resource_name = id});
  }
  // What the caller may know of.
  typename Entries::iterator FindLocked(const Caller& caller,
                                        const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = entries_.find(id);
    const bool is_visible = found != entries_.end() &&
                            !found->second.is_hidden &&
                            found->second.held->tenant() == caller.tenant;
    return is_visible ? found : entries_.end();
  }

  absl::Status CheckTenantLocked(const Held& held) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    int64_t available = options_.max_tenant_bytes;
    if (available == 0) return absl::OkStatus();
    for (const auto& [id, entry] : entries_) {
      if (entry.held->tenant() == held.tenant()) {
        available -= entry.held->reserved_bytes();
      }
    }
    if (held.reserved_bytes() <= available) return absl::OkStatus();
    return WithFacts(
        absl::ResourceExhaustedError(absl::StrCat(
            "the ", noun_.one, " needs ", held.reserved_bytes(), " bytes, ",
            available, " of ", options_.max_tenant_bytes,
            " are available to the tenant")),
        {.reason = "TENANT_QUOTA",
         .quota_subject = absl::StrCat("tenant:", held.tenant()),
         .numbers = {{"needed_bytes", held.reserved_bytes()},
                     {"available_bytes", available}}});
  }

  // Returns those that are left.
  std::vector<std::shared_ptr<Held>> EndIdle() {
    std::vector<std::shared_ptr<Held>> alive = All();
    const auto first_idle = std::stable_partition(
        alive.begin(), alive.end(),
        [this](const auto& held) { return !held->IsOver(clock_.Now()); });
    for (auto idle = first_idle; idle != alive.end(); ++idle) Drop(*idle);
    alive.erase(first_idle, alive.end());
    return alive;
  }
  // Of the members; forgets those of others.
  std::map<uint64_t, std::shared_ptr<Link>> LinksOf(
      const MembershipView& members) {
    std::set<uint64_t> ids;
    for (const Member& member : members.members) {
      ids.insert(member.registration_id);
    }
    absl::MutexLock lock(&mutex_);
    for (auto link = links_.begin(); link != links_.end();) {
      link = ids.count(link->first) > 0 ? std::next(link) : links_.erase(link);
    }
    return links_;
  }

  void Loop() {
    ThreadPulse pulse("hw-leases");
    while (true) {
      pulse.Beat(options_.interval + kPulseAllowance);
      {
        absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                    options_.interval)) {
          return;
        }
      }
      // Calls to workers that are gone wait for their deadlines.
      pulse.Beat(absl::Minutes(1));
      Step();
    }
  }

  const LeaseNoun noun_;
  const LeaseBookOptions<Link> options_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  // By registration_id; of members only.
  std::map<uint64_t, std::shared_ptr<Link>> links_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_LEASE_BOOK_H_
