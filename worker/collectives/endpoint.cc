#include "worker/collectives/endpoint.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Of worker.v1's protocol 1, as what is sent over the group.
constexpr absl::string_view kFormat = "headwise-group/1";
// 63 IPv6 addresses with scope and port are below 5 KiB.
constexpr size_t kMaxEndpointBytes = size_t{64} << 10;
constexpr size_t kMaxShownBytes = 80;

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isprint(c); });
}

// Everything but the location, which must be equal to what we would write.
std::array<std::string, 5> Preamble(const GroupSpec& spec, int rank) {
  return {std::string(kFormat), absl::StrCat("kind=", GroupKindName(spec.kind)),
          absl::StrCat("rank=", rank),
          absl::StrCat("world_size=", spec.world_size),
          absl::StrCat("epoch=", spec.membership_epoch)};
}

absl::StatusOr<std::string> LocationOf(absl::string_view endpoint, int rank,
                                       const GroupSpec& spec) {
  if (endpoint.size() > kMaxEndpointBytes || !IsPrintable(endpoint)) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoint of rank ", rank, " is not printable or has ",
                     endpoint.size(), " bytes, more than ", kMaxEndpointBytes));
  }
  const std::vector<absl::string_view> words = absl::StrSplit(endpoint, ' ');
  const std::array<std::string, 5> wanted = Preamble(spec, rank);
  if (words.size() != wanted.size() + 1 ||
      !absl::StartsWith(words.back(), "at=")) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoint of rank ", rank, " is malformed: \"",
                     endpoint.substr(0, kMaxShownBytes), "\""));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (words[i] == wanted[i]) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("endpoint of rank ", rank, " says \"",
                     words[i].substr(0, kMaxShownBytes), "\" instead of \"",
                     wanted[i], "\""));
  }
  return std::string(absl::StripPrefix(words.back(), "at="));
}

}  // namespace

const char* GroupKindName(GroupKind kind) {
  switch (kind) {
    case GroupKind::kSharedMemory:
      return "shared-memory";
    case GroupKind::kGloo:
      return "gloo";
    case GroupKind::kNccl:
      return "nccl";
  }
  return "unknown";
}

std::string EncodeEndpoint(const GroupSpec& spec, absl::string_view location) {
  std::string endpoint;
  for (const std::string& word : Preamble(spec, spec.rank)) {
    absl::StrAppend(&endpoint, word, " ");
  }
  return absl::StrCat(endpoint, "at=", location);
}

absl::StatusOr<std::vector<std::string>> LocationsOf(
    absl::Span<const std::string> endpoints, const GroupSpec& spec) {
  if (endpoints.size() != static_cast<size_t>(spec.world_size)) {
    return absl::InvalidArgumentError(absl::StrCat(endpoints.size(),
                                                   " endpoints for a group of ",
                                                   spec.world_size, " ranks"));
  }
  std::vector<std::string> locations;
  for (int rank = 0; rank < spec.world_size; ++rank) {
    HEADWISE_ASSIGN_OR_RETURN(locations.emplace_back(),
                              LocationOf(endpoints[rank], rank, spec));
  }
  return locations;
}

}  // namespace headwise
