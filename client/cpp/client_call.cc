#include "client/cpp/client_call.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/host_address.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace headwise {
namespace {

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// What a server may send ahead of what was read, of one call.
constexpr int kLookaheadBytes = 1 << 20;

// A leader that is frozen is left after 9 s. The server allows a ping in 5 s.
constexpr int kLeaderKeepaliveMs = 6'000;
constexpr int kLeaderKeepaliveTimeoutMs = 3'000;
constexpr int kMinReconnectMs = 100;
constexpr int kMaxReconnectMs = 1'000;

bool NamesSeveral(const std::string& target) {
  return absl::StrContains(target, ',');
}

// Only coordinators whose health of that name is SERVING are called.
void FollowTheLeader(grpc::ChannelArguments* arguments) {
  arguments->SetServiceConfigJSON(
      R"({"loadBalancingConfig": [{"round_robin": {}}],
          "healthCheckConfig": {"serviceName": "leader"}})");
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kLeaderKeepaliveMs);
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kLeaderKeepaliveTimeoutMs);
  // A stream that is read sends nothing for minutes.
  arguments->SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments->SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinReconnectMs);
  arguments->SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
}

// Of that family, "host:port" each; names that have none are left out.
std::vector<std::string> ResolveAs(int family, const std::string& servers) {
  std::vector<std::string> resolved;
  for (const absl::string_view server : absl::StrSplit(servers, ',')) {
    const size_t colon = server.rfind(':');
    if (colon == absl::string_view::npos) continue;
    absl::string_view host = server.substr(0, colon);
    if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
    addrinfo hints = {};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(std::string(host).c_str(),
                    std::string(server.substr(colon + 1)).c_str(), &hints,
                    &found) != 0) {
      continue;
    }
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      char name[NI_MAXHOST];
      if (getnameinfo(one->ai_addr, one->ai_addrlen, name, sizeof(name),
                      nullptr, 0, NI_NUMERICHOST) != 0) {
        continue;
      }
      resolved.push_back(
          absl::StrCat(family == AF_INET6 ? absl::StrCat("[", name, "]") : name,
                       server.substr(colon)));
    }
    freeaddrinfo(found);
  }
  return resolved;
}

// gRPC takes several addresses only as numbers, of one family.
std::string ResolveServers(const std::string& servers) {
  const std::vector<std::string> v4 = ResolveAs(AF_INET, servers);
  if (!v4.empty()) return absl::StrCat("ipv4:", absl::StrJoin(v4, ","));
  const std::vector<std::string> v6 = ResolveAs(AF_INET6, servers);
  if (!v6.empty()) return absl::StrCat("ipv6:", absl::StrJoin(v6, ","));
  // The call's error will name it.
  return std::vector<std::string>(absl::StrSplit(servers, ','))[0];
}

absl::Duration RetryDelayOf(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) {
    return absl::ZeroDuration();
  }
  for (const auto& detail : rich.details()) {
    google::rpc::RetryInfo info;
    if (detail.UnpackTo(&info)) {
      return absl::Seconds(info.retry_delay().seconds()) +
             absl::Nanoseconds(info.retry_delay().nanos());
    }
  }
  return absl::ZeroDuration();
}

}  // namespace

ClientOptions OptionsFor(const std::string& target, ClientOptions options) {
  RetryOptions& retry = options.retry;
  if (NamesSeveral(target) && retry.max_attempts > 1) {
    retry.max_attempts = std::max(retry.max_attempts, retry.max_resumes + 1);
  }
  return options;
}

std::shared_ptr<grpc::Channel> MakeClientChannel(
    const std::string& target, const TransportSecurity& security) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // Measuring the link costs a ping for each message read: 9 % of a stream's
  // tokens per second on two cores.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  // A private network is assumed: http_proxy is for other programs.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::string uri = target;
  std::string name;  // of the server; empty: as in the URI
  if (NamesSeveral(target)) {
    FollowTheLeader(&arguments);
    uri = ResolveServers(target);
    // gRPC takes one name for all of them.
    name = std::string(HostOf(target.substr(0, target.find(','))));
  } else {
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  }
  return security.MakeChannel(uri, std::move(arguments), name);
}

Attempt ToAttempt(const grpc::Status& status) {
  Attempt attempt;
  attempt.status =
      absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                   status.error_message());
  if (!status.ok()) attempt.retry_delay = RetryDelayOf(status);
  return attempt;
}

void PrepareCall(const ClientOptions& options, absl::Duration remaining,
                 grpc::ClientContext* context) {
  if (!options.tenant.empty()) {
    context->AddMetadata("x-headwise-tenant", options.tenant);
  }
  // gRPC keeps a deadline as a time of the system's clock.
  context->set_deadline(
      std::chrono::system_clock::now() +
      absl::ToChronoNanoseconds(std::min(remaining, absl::Hours(24 * 365))));
}

}  // namespace headwise
