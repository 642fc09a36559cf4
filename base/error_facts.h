// What a status says to programs beside its code and message: facts that travel
// in its payloads, until an edge turns them into what its protocol has.

#ifndef HEADWISE_BASE_ERROR_FACTS_H_
#define HEADWISE_BASE_ERROR_FACTS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace headwise {

struct ErrorFacts {
  // Why, in capitals: "QUEUE_FULL". One code may have several reasons.
  std::string reason;
  // What a message speaks of and is not here: "session", and its name.
  std::string resource_type;
  std::string resource_name;
  // Whose limit was reached: "tenant:a".
  std::string quota_subject;
  // Numbers of the message, by name: "needed_bytes".
  std::vector<std::pair<std::string, int64_t>> numbers;
  // When to come again, in whole milliseconds; zero: nothing is known.
  absl::Duration retry_after = absl::ZeroDuration();
  // Where the one is who can do it: host:port.
  std::string leader;
};

// `status` with these facts; earlier ones that are not named stay. No effect on
// OK. At most 256 bytes of each text are kept.
absl::Status WithFacts(absl::Status status, const ErrorFacts& facts);

ErrorFacts FactsOf(const absl::Status& status);

}  // namespace headwise

#endif  // HEADWISE_BASE_ERROR_FACTS_H_
