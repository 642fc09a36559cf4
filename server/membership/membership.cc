#include "server/membership/membership.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr size_t kMaxReplaced = 256;    // entries of a few bytes
constexpr size_t kMaxNameBytes = 128;   // labels of metrics carry it
constexpr size_t kMaxTextBytes = 256;   // any other text of a worker
constexpr double kMaxSpeedRatio = 1e6;  // keeps the cost model finite
constexpr int64_t kMaxMemoryBytes = int64_t{1} << 50;

absl::Status CheckText(const char* what, const std::string& text) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker's ", what, " has ", text.size(), " bytes, limit ",
                     kMaxTextBytes));
  }
  return absl::OkStatus();
}

// It is shown to operators, on pages and terminals.
absl::Status CheckVersion(const std::string& version) {
  HEADWISE_RETURN_IF_ERROR(CheckText("version", version));
  for (const char c : version) {
    if (absl::ascii_isprint(static_cast<unsigned char>(c))) continue;
    return absl::InvalidArgumentError(absl::StrCat("worker's version has byte ",
                                                   static_cast<int>(c) & 0xff,
                                                   ", allowed are 32 to 126"));
  }
  return absl::OkStatus();
}

absl::Status CheckName(const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker's name has ", name.size(), " bytes, allowed 1 to ",
                     kMaxNameBytes));
  }
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' &&
        c != '_' && c != '-' && c != ':') {
      return absl::InvalidArgumentError(
          absl::StrCat("worker's name has byte ", static_cast<int>(c) & 0xff,
                       ", allowed are letters, digits and ._:-"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsSameProcess(const MemberInfo& a, const MemberInfo& b) {
  return !a.host_id.empty() && a.host_id == b.host_id &&
         a.process_id == b.process_id;
}

ProtocolRange CommonProtocols(ProtocolRange coordinator,
                              const std::vector<Member>& members) {
  for (const Member& member : members) {
    coordinator = Common(coordinator, member.info.build.protocols);
  }
  return coordinator;
}

Membership::Membership(const MembershipOptions& options, const Clock& clock)
    : options_(options), clock_(clock) {
  auto view = std::make_shared<MembershipView>();
  view->membership_epoch = options_.first_epoch;
  view_ = std::move(view);
}

void Membership::SetListener(std::function<void()> listener) {
  absl::MutexLock lock(&mutex_);
  listener_ = std::move(listener);
}

absl::Status Membership::Validate(const MemberInfo& info) const {
  HEADWISE_RETURN_IF_ERROR(CheckName(info.name));
  HEADWISE_RETURN_IF_ERROR(CheckText("address", info.address));
  HEADWISE_RETURN_IF_ERROR(CheckText("host id", info.host_id));
  HEADWISE_RETURN_IF_ERROR(CheckText("isa", info.isa));
  HEADWISE_RETURN_IF_ERROR(CheckText("gpu id", info.gpu_id));
  HEADWISE_RETURN_IF_ERROR(CheckVersion(info.build.version));
  if (info.build.numerics != options_.build.numerics) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker ", info.name, " of build ", info.build.version,
        " has numerics ", info.build.numerics, ", the coordinator of build ",
        options_.build.version, " has ", options_.build.numerics,
        ": the bits of their answers differ"));
  }
  if (!std::isfinite(info.speed) || info.speed < 1 / kMaxSpeedRatio ||
      info.speed > kMaxSpeedRatio) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker ", info.name, " has speed ", info.speed,
                     ", allowed ", 1 / kMaxSpeedRatio, " to ", kMaxSpeedRatio));
  }
  if (info.memory_bytes < 0 || info.memory_bytes > kMaxMemoryBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker ", info.name, " has memory_bytes ",
                     info.memory_bytes, ", allowed 0 to ", kMaxMemoryBytes));
  }
  return absl::OkStatus();
}

// A group may be made of any of the members, so all must have one in common.
absl::Status Membership::CheckProtocolsLocked(const MemberInfo& info) const {
  std::vector<Member> others = view_->members;
  others.erase(std::remove_if(others.begin(), others.end(),
                              [&info](const Member& member) {
                                return member.info.name == info.name;
                              }),
               others.end());
  const ProtocolRange spoken =
      CommonProtocols(options_.build.protocols, others);
  if (!Common(spoken, info.build.protocols).empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "worker ", info.name, " of build ", info.build.version, " speaks ",
      TextOf(info.build.protocols), ", the coordinator of build ",
      options_.build.version, " and its workers speak ", TextOf(spoken)));
}

void Membership::PublishLocked(uint64_t by) {
  auto view = std::make_shared<MembershipView>();
  view->membership_epoch = view_->membership_epoch + by;
  view->members.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) {
    view->members.push_back({entry.info, entry.registration_id});
  }
  view_ = std::move(view);
}

void Membership::Notify() {
  std::function<void()> listener;
  {
    absl::MutexLock lock(&mutex_);
    listener = listener_;
  }
  if (listener) listener();
}

void Membership::Close(absl::Status why) {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = std::move(why);
    for (const auto& [name, entry] : entries_) {
      history_.Left(name, clock_.Now());
    }
    entries_.clear();
    PublishLocked();
  }
  Notify();
}

void Membership::Open(uint64_t first_epoch) {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = absl::OkStatus();
    const uint64_t now = view_->membership_epoch;
    PublishLocked(first_epoch > now ? first_epoch - now : 1);
  }
  Notify();
}

absl::StatusOr<uint64_t> Membership::AddLocked(const MemberInfo& info) {
  if (!closed_.ok()) return closed_;
  HEADWISE_RETURN_IF_ERROR(CheckProtocolsLocked(info));
  const auto found = entries_.find(info.name);
  if (found == entries_.end() && entries_.size() >= options_.max_members) {
    return absl::ResourceExhaustedError(
        absl::StrCat("worker ", info.name, " refused: ", entries_.size(),
                     " workers are alive, limit ", options_.max_members));
  }
  if (found != entries_.end()) {
    replaced_[found->second.registration_id] = info.name;
    // Ids grow, so the first is the oldest.
    if (replaced_.size() > kMaxReplaced) replaced_.erase(replaced_.begin());
  }
  const uint64_t id = next_registration_id_++;
  entries_[info.name] = {info, id, clock_.Now()};
  history_.Came(info.name, info.address);
  PublishLocked();
  return id;
}

absl::StatusOr<uint64_t> Membership::Register(const MemberInfo& info) {
  HEADWISE_RETURN_IF_ERROR(Validate(info));
  absl::StatusOr<uint64_t> id;
  {
    absl::MutexLock lock(&mutex_);
    id = AddLocked(info);
  }
  if (id.ok()) Notify();
  return id;
}

absl::StatusOr<uint64_t> Membership::FindOrRegister(const MemberInfo& info) {
  HEADWISE_RETURN_IF_ERROR(Validate(info));
  absl::StatusOr<uint64_t> id;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(info.name);
    if (found != entries_.end() && IsSameProcess(found->second.info, info)) {
      found->second.last_heard = clock_.Now();
      return found->second.registration_id;
    }
    id = AddLocked(info);
  }
  if (id.ok()) Notify();
  return id;
}

absl::Status Membership::Heartbeat(uint64_t registration_id) {
  absl::MutexLock lock(&mutex_);
  for (auto& [name, entry] : entries_) {
    if (entry.registration_id != registration_id) continue;
    entry.last_heard = clock_.Now();
    return absl::OkStatus();
  }
  const auto replaced = replaced_.find(registration_id);
  if (replaced != replaced_.end()) {
    return absl::AbortedError(absl::StrCat("a newer worker has registered as ",
                                           replaced->second,
                                           ": names must be unique"));
  }
  return absl::NotFoundError(
      absl::StrCat("registration ", registration_id,
                   " is no member: it was silent for more than ",
                   absl::FormatDuration(options_.dead_after),
                   " or was removed; register again"));
}

bool Membership::Remove(uint64_t registration_id) {
  {
    absl::MutexLock lock(&mutex_);
    auto it = entries_.begin();
    while (it != entries_.end() &&
           it->second.registration_id != registration_id) {
      ++it;
    }
    if (it == entries_.end()) return false;
    history_.Left(it->first, clock_.Now());
    entries_.erase(it);
    PublishLocked();
  }
  Notify();
  return true;
}

std::vector<std::string> Membership::RemoveDead() {
  std::vector<std::string> dead;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_.Now();
    for (auto it = entries_.begin(); it != entries_.end();) {
      if (now - it->second.last_heard > options_.dead_after) {
        dead.push_back(it->first);
        history_.Left(it->first, now);
        it = entries_.erase(it);
      } else {
        ++it;
      }
    }
    if (dead.empty()) return dead;
    PublishLocked();
  }
  Notify();
  return dead;
}

uint64_t Membership::Bump(uint64_t by) {
  HEADWISE_CHECK(by > 0);
  absl::MutexLock lock(&mutex_);
  PublishLocked(by);
  return view_->membership_epoch;
}

std::shared_ptr<const MembershipView> Membership::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

void Membership::Report(const std::string& address,
                        const std::string& problem) {
  absl::MutexLock lock(&mutex_);
  history_.Report(address, problem);
}

std::vector<MissingMember> Membership::missing() const {
  absl::MutexLock lock(&mutex_);
  return history_.Missing(clock_.Now());
}

std::map<std::string, int64_t> Membership::arrivals() const {
  absl::MutexLock lock(&mutex_);
  return history_.Arrivals();
}

}  // namespace headwise
