// Something of a tenant's that workers hold parts of, as the coordinator's book
// has it: who holds it, who uses it, whether it is lost.

#ifndef HEADWISE_SERVER_LEASES_LEASED_H_
#define HEADWISE_SERVER_LEASES_LEASED_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/membership/membership.h"

namespace headwise {

struct LeaseTerms {
  const char* noun = "";  // "session"; a literal
  std::string id;
  std::string tenant;
  absl::Duration ttl;  // how long it may be idle
};

// Thread-safe. A worker W has a name, a registration_id, the bytes that it has
// reserved and a link, which is a LeaseLink.
template <typename W>
class Leased {
 public:
  using Worker = W;

  Leased(LeaseTerms terms, std::vector<Worker> workers, absl::Time now)
      : terms_(std::move(terms)),
        workers_(std::move(workers)),
        last_used_(now) {}

  const std::string& id() const { return terms_.id; }
  const std::string& tenant() const { return terms_.tenant; }
  const std::vector<Worker>& workers() const { return workers_; }
  int64_t reserved_bytes() const {
    int64_t bytes = 0;
    for (const Worker& worker : workers_) bytes += worker.reserved_bytes;
    return bytes;
  }

  // Why every call fails, or OK.
  absl::Status lost() const {
    absl::MutexLock lock(&mutex_);
    return lost_;
  }
  // Lost for good; the first reason stays.
  void MarkLost(const absl::Status& reason) {
    absl::MutexLock lock(&mutex_);
    if (lost_.ok()) lost_ = reason;
  }
  // Lost if a worker of it is not in the view any more.
  void CheckMembers(const MembershipView& view) {
    for (const Worker& worker : workers_) {
      bool is_there = false;
      for (const Member& member : view.members) {
        is_there |= member.registration_id == worker.registration_id;
      }
      if (is_there) continue;
      MarkLost(absl::DataLossError(absl::StrCat("worker ", worker.name,
                                                " is gone, and the ",
                                                terms_.noun, " with it")));
    }
  }
  // What a worker's error means to a caller: names the worker. NotFound there
  // means that it is lost; FailedPrecondition, that another call has changed it
  // meanwhile.
  absl::Status Explain(const Worker& worker, const absl::Status& status) {
    if (absl::IsNotFound(status)) {
      MarkLost(absl::DataLossError(absl::StrCat(
          "worker ", worker.name, " does not have its part of the ",
          terms_.noun, " any more")));
      return lost();
    }
    const std::string message =
        absl::StrCat("worker ", worker.name, ": ", status.message());
    if (absl::IsDeadlineExceeded(status)) {
      return absl::UnavailableError(message);
    }
    if (absl::IsFailedPrecondition(status)) return absl::AbortedError(message);
    return absl::Status(status.code(), message);
  }

  // Only one call at a time may change it. Aborted: another one does.
  absl::Status BeginChange() {
    absl::MutexLock lock(&mutex_);
    if (!lost_.ok()) return lost_;
    if (changing_) {
      return absl::AbortedError(
          absl::StrCat("another call is changing the ", terms_.noun,
                       "; ask how far it is and try again"));
    }
    changing_ = true;
    return absl::OkStatus();
  }
  void EndChange() {
    absl::MutexLock lock(&mutex_);
    changing_ = false;
  }

  // A call begins or ends: it is not idle.
  void Touch(absl::Time now, int calls_begun) {
    absl::MutexLock lock(&mutex_);
    calls_ += calls_begun;
    last_used_ = now;
  }
  // Nobody has named it for too long.
  bool IsOver(absl::Time now) const {
    absl::MutexLock lock(&mutex_);
    return calls_ == 0 && now - last_used_ > terms_.ttl;
  }

 private:
  const LeaseTerms terms_;
  const std::vector<Worker> workers_;

  mutable absl::Mutex mutex_;
  bool changing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_used_ ABSL_GUARDED_BY(mutex_);
};

// A call on it: keeps it from being idle while it lives.
template <typename Held>
class LeaseUse {
 public:
  LeaseUse(std::shared_ptr<Held> held, const Clock& clock)
      : held_(std::move(held)), clock_(&clock) {
    held_->Touch(clock_->Now(), 1);
  }
  ~LeaseUse() {
    if (held_ != nullptr) held_->Touch(clock_->Now(), -1);
  }
  LeaseUse(LeaseUse&& other) noexcept = default;
  LeaseUse& operator=(LeaseUse&&) = delete;

  Held& operator*() const { return *held_; }
  Held* operator->() const { return held_.get(); }

 private:
  std::shared_ptr<Held> held_;
  const Clock* clock_;
};

// The right to change it, for as long as it lives.
template <typename Held>
class LeaseChange {
 public:
  static absl::StatusOr<LeaseChange> Begin(Held& held) {
    const absl::Status begun = held.BeginChange();
    if (!begun.ok()) return begun;
    return LeaseChange(held);
  }
  ~LeaseChange() {
    if (held_ != nullptr) held_->EndChange();
  }
  LeaseChange(LeaseChange&& other) noexcept
      : held_(std::exchange(other.held_, nullptr)) {}
  LeaseChange& operator=(LeaseChange&&) = delete;

 private:
  explicit LeaseChange(Held& held) : held_(&held) {}
  Held* held_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_LEASED_H_
