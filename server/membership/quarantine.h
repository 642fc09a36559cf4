// Who has failed, and is left out for a while: by worker's name.

#ifndef HEADWISE_SERVER_MEMBERSHIP_QUARANTINE_H_
#define HEADWISE_SERVER_MEMBERSHIP_QUARANTINE_H_

#include <map>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"

namespace headwise {

// A worker that fails is left out for `shortest`, twice as long with each
// further failure, at most an hour. Failures are remembered by name, also when
// the time is over and when the worker registers anew, until Forgive: so one
// that stays bad harms the others ever more seldom. Remembers 256 names; beyond
// that the one whose time ended first is forgotten. Not thread-safe.
class Quarantine {
 public:
  // `clock` must outlive it.
  Quarantine(absl::Duration shortest, const Clock& clock);

  // The failure is the worker's own. Returns for how long it is left out.
  absl::Duration Blame(const std::string& name);

  // It may be the worker's own, a peer's, or a restart that was meant: the
  // first one is free, the second costs a tenth of `shortest`, and so on.
  absl::Duration Suspect(const std::string& name);

  // The worker has proved itself.
  void Forgive(const std::string& name) { failures_.erase(name); }

  // Whether the worker is to be left out now.
  bool Holds(const std::string& name) const;

 private:
  struct Failures {
    int number = 0;
    absl::Time until;
  };

  // One more failure, for which `first` is due if there was none before.
  absl::Duration Count(const std::string& name, absl::Duration first);

  const absl::Duration shortest_;
  const Clock& clock_;
  std::map<std::string, Failures> failures_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_MEMBERSHIP_QUARANTINE_H_
