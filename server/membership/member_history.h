// Who should be a member and is not, and who came how often.

#ifndef HEADWISE_SERVER_MEMBERSHIP_MEMBER_HISTORY_H_
#define HEADWISE_SERVER_MEMBERSHIP_MEMBER_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace headwise {

struct MissingMember {
  // Of the worker, if it was ever here; else the address where one should be.
  std::string name;
  std::string reason;  // one line
};

// Names and addresses are bounded: kMaxNames of each; those that left first are
// forgotten first. Not thread-safe.
class MemberHistory {
 public:
  static constexpr size_t kMaxNames = 256;
  // A worker that is gone for longer is not missed any more.
  static constexpr absl::Duration kMissedFor = absl::Hours(1);

  void Came(const std::string& name, const std::string& address);
  void Left(const std::string& name, absl::Time now);

  // Somebody was told that a worker is at `address`, and has found `problem`
  // there; empty: it is well.
  void Report(const std::string& address, const std::string& problem);

  // Workers that are gone, by name, then addresses with a problem.
  std::vector<MissingMember> Missing(absl::Time now) const;

  // By name: how often it came, 1 or more. Each start of a process counts.
  std::map<std::string, int64_t> Arrivals() const;

 private:
  struct Known {
    std::string address;
    int64_t num_arrivals = 0;
    absl::Time left = absl::InfiniteFuture();  // future: it is here
  };

  void ForgetOne();

  std::map<std::string, Known> known_;           // by name
  std::map<std::string, std::string> problems_;  // by address; "": none
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_MEMBERSHIP_MEMBER_HISTORY_H_
