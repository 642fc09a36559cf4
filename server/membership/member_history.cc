#include "server/membership/member_history.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace headwise {

void MemberHistory::Came(const std::string& name, const std::string& address) {
  if (known_.count(name) == 0 && known_.size() >= kMaxNames) ForgetOne();
  Known& known = known_[name];
  known.address = address;
  ++known.num_arrivals;
  known.left = absl::InfiniteFuture();
}

// Those that are here come last.
void MemberHistory::ForgetOne() {
  known_.erase(std::min_element(known_.begin(), known_.end(),
                                [](const auto& a, const auto& b) {
                                  return a.second.left < b.second.left;
                                }));
}

void MemberHistory::Left(const std::string& name, absl::Time now) {
  const auto found = known_.find(name);
  if (found != known_.end()) found->second.left = now;
}

void MemberHistory::Report(const std::string& address,
                           const std::string& problem) {
  const auto found = problems_.find(address);
  if (found != problems_.end()) {
    found->second = problem;
  } else if (problems_.size() < kMaxNames) {
    problems_[address] = problem;
  }
}

std::vector<MissingMember> MemberHistory::Missing(absl::Time now) const {
  std::vector<MissingMember> missing;
  std::map<std::string, std::string> problems = problems_;
  for (const auto& [name, known] : known_) {
    const absl::Duration gone = now - known.left;
    if (gone < absl::ZeroDuration()) continue;
    const auto problem = problems.find(known.address);
    const bool is_reported =
        problem != problems.end() && !problem->second.empty();
    if (gone > kMissedFor && !is_reported) continue;
    std::string reason =
        absl::StrCat("at ", known.address, ", gone for ",
                     absl::FormatDuration(absl::Trunc(gone, absl::Seconds(1))));
    if (is_reported) {
      absl::StrAppend(&reason, ": ", problem->second);
      problems.erase(problem);
    }
    missing.push_back({name, std::move(reason)});
  }
  for (const auto& [address, problem] : problems) {
    if (!problem.empty()) missing.push_back({address, problem});
  }
  return missing;
}

std::map<std::string, int64_t> MemberHistory::Arrivals() const {
  std::map<std::string, int64_t> arrivals;
  for (const auto& [name, known] : known_) {
    arrivals[name] = known.num_arrivals;
  }
  return arrivals;
}

}  // namespace headwise
