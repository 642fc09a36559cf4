#include "server/membership/quarantine.h"

#include <algorithm>

namespace headwise {
namespace {

constexpr size_t kMaxNames = 256;  // names come from outside
constexpr absl::Duration kLongest = absl::Hours(1);
constexpr int kMaxDoublings = 16;  // keeps the shift small

}  // namespace

Quarantine::Quarantine(absl::Duration shortest, const Clock& clock)
    : shortest_(shortest), clock_(clock) {}

absl::Duration Quarantine::Blame(const std::string& name) {
  return Count(name, shortest_);
}

absl::Duration Quarantine::Suspect(const std::string& name) {
  const bool is_first = failures_.count(name) == 0;
  return Count(name, is_first ? absl::ZeroDuration() : shortest_ / 20);
}

absl::Duration Quarantine::Count(const std::string& name,
                                 absl::Duration first) {
  if (failures_.size() >= kMaxNames && failures_.count(name) == 0) {
    failures_.erase(std::min_element(failures_.begin(), failures_.end(),
                                     [](const auto& a, const auto& b) {
                                       return a.second.until < b.second.until;
                                     }));
  }
  Failures& failures = failures_[name];
  const int doublings = std::min(failures.number++, kMaxDoublings);
  const absl::Duration left_out = std::min(first * (1 << doublings), kLongest);
  failures.until = clock_.Now() + left_out;
  return left_out;
}

bool Quarantine::Holds(const std::string& name) const {
  const auto found = failures_.find(name);
  return found != failures_.end() && clock_.Now() < found->second.until;
}

}  // namespace headwise
