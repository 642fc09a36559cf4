// Follows a selection job until it stops.

#ifndef HEADWISE_CLIENT_CLI_SELECT_WATCH_H_
#define HEADWISE_CLIENT_CLI_SELECT_WATCH_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cpp/selection_client.h"
#include "headwise/v1/selection.pb.h"

namespace headwise {

// Shows progress on stderr, if that is a terminal, until the job is paused or
// in a final state, which is returned. A server that goes away is waited for:
// its jobs go on when it comes back; Unavailable after five minutes.
absl::StatusOr<v1::SelectionJob> WatchSelectionJob(SelectionClient& client,
                                                   const std::string& job_id);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_WATCH_H_
