// The string that one rank hands to all others while a group forms.
//
//   headwise-group/1 kind=gloo rank=0 world_size=2 epoch=7 at=-,127.0.0.1:4711
//
// It comes from another process and may say anything.

#ifndef HEADWISE_WORKER_COLLECTIVES_ENDPOINT_H_
#define HEADWISE_WORKER_COLLECTIVES_ENDPOINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// "shared-memory", "gloo" or "nccl".
const char* GroupKindName(GroupKind kind);

// Requires that `location` is printable without spaces; its form is the kind's.
std::string EncodeEndpoint(const GroupSpec& spec, absl::string_view location);

// The location in each endpoint, by rank. InvalidArgument for a malformed
// endpoint or a wrong number of them; FailedPrecondition, naming the rank, for
// one that was not made for its place in the group of `spec`.
absl::StatusOr<std::vector<std::string>> LocationsOf(
    absl::Span<const std::string> endpoints, const GroupSpec& spec);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_ENDPOINT_H_
