#include "worker/collectives/pending_gloo_group.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/collectives/endpoint.h"
#include "worker/collectives/gloo_address.h"
#include "worker/collectives/gloo_group.h"
#include "worker/collectives/gloo_transport.h"

namespace headwise {
namespace {

absl::Time Now() { return Clock::Monotonic().Now(); }

bool IsLoopback(absl::string_view location) {
  return absl::StrContains(location, ",127.") ||
         absl::StartsWith(location, "127.") ||
         absl::StrContains(location, "[::1]");
}

// Why ranks may not have reached each other, if their addresses tell.
std::string Hint(const std::vector<std::string>& locations, int rank) {
  for (const std::string& location : locations) {
    if (IsLoopback(location) == IsLoopback(locations[rank])) continue;
    return "; other machines don't reach a loopback address: start the worker "
           "that has it with --group-address";
  }
  return "";
}

class PendingGlooGroup final : public PendingGroup {
 public:
  PendingGlooGroup(const GroupSpec& spec,
                   std::shared_ptr<GlooTransport> transport,
                   absl::string_view location)
      : spec_(spec),
        transport_(std::move(transport)),
        endpoint_(EncodeEndpoint(spec, location)) {}

  const std::string& endpoint() const override { return endpoint_; }

  absl::StatusOr<std::unique_ptr<Group>> Join(
      absl::Span<const std::string> endpoints) override {
    if (transport_ == nullptr) {
      return absl::FailedPreconditionError("Join may be called once");
    }
    const std::shared_ptr<GlooTransport> transport = std::move(transport_);
    HEADWISE_ASSIGN_OR_RETURN(const auto locations,
                              LocationsOf(endpoints, spec_));
    absl::StatusOr<std::unique_ptr<Group>> group = Meet(transport, locations);
    if (group.ok()) return group;
    return absl::Status(
        group.status().code(),
        absl::StrCat(group.status().message(), Hint(locations, spec_.rank)));
  }

 private:
  absl::StatusOr<std::unique_ptr<Group>> Meet(
      const std::shared_ptr<GlooTransport>& transport,
      const std::vector<std::string>& locations) const {
    const absl::Time deadline = Now() + spec_.join_timeout;
    for (int peer = 0; peer < spec_.world_size; ++peer) {
      if (peer == spec_.rank) continue;
      HEADWISE_RETURN_IF_ERROR(
          Connect(*transport, locations[peer], peer, deadline));
    }
    auto group = std::make_unique<GlooGroup>(spec_, transport);
    HEADWISE_RETURN_IF_ERROR(group->Greet());
    return group;
  }

  absl::Status Connect(GlooTransport& transport, absl::string_view location,
                       int peer, absl::Time deadline) const {
    const std::vector<absl::string_view> addresses =
        absl::StrSplit(location, ',');
    if (addresses.size() != static_cast<size_t>(spec_.world_size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("rank ", peer, " tells ", addresses.size(),
                       " addresses, not ", spec_.world_size));
    }
    HEADWISE_ASSIGN_OR_RETURN(const gloo::transport::tcp::Address address,
                              ParseGlooAddress(addresses[spec_.rank]));
    try {
      transport.getPair(peer)->connect(address.bytes());
    } catch (const std::exception& error) {
      const std::string message =
          absl::StrCat("connecting rank ", spec_.rank, " to rank ", peer,
                       " at ", addresses[spec_.rank], ": ", error.what());
      if (Now() >= deadline) return absl::DeadlineExceededError(message);
      return absl::UnavailableError(message);
    }
    return absl::OkStatus();
  }

  const GroupSpec spec_;
  std::shared_ptr<GlooTransport> transport_;  // null after Join
  const std::string endpoint_;
};

void IgnoreSigpipe() {
  struct sigaction present = {};
  if (sigaction(SIGPIPE, nullptr, &present) == 0 &&
      present.sa_handler == SIG_DFL) {
    std::signal(SIGPIPE, SIG_IGN);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareGlooGroup(
    const GroupSpec& spec) {
  IgnoreSigpipe();
  HEADWISE_ASSIGN_OR_RETURN(const auto device,
                            OpenGlooDevice(spec.bind_address));
  try {
    auto transport =
        std::make_shared<GlooTransport>(device, spec.rank, spec.world_size);
    // Gloo waits five times this long for a connection.
    transport->setTimeout(
        std::max(absl::ToChronoMilliseconds(spec.join_timeout / 5),
                 std::chrono::milliseconds(1)));
    std::vector<std::string> addresses;
    for (int peer = 0; peer < spec.world_size; ++peer) {
      if (peer == spec.rank) {
        addresses.push_back("-");
        continue;
      }
      addresses.push_back(
          FormatGlooAddress(transport->createPair(peer)->address()));
    }
    return std::make_unique<PendingGlooGroup>(spec, std::move(transport),
                                              absl::StrJoin(addresses, ","));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat(
        "no sockets for ", spec.world_size - 1, " peers: ", error.what()));
  }
}

}  // namespace headwise
