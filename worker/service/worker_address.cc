#include "worker/service/worker_address.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/host_address.h"

namespace headwise {
namespace {

bool IsWildcard(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::";
}

}  // namespace

absl::StatusOr<WorkerAddresses> ResolveAddresses(
    const WorkerAddressFlags& flags) {
  if (flags.listen.rfind(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", flags.listen, " is not host:port"));
  }
  const bool is_advertised = !flags.advertise_host.empty();
  std::string host(HostOf(
      is_advertised ? absl::StrCat(flags.advertise_host, ":0") : flags.listen));
  bool is_local = true;
  for (const absl::string_view coordinator :
       absl::StrSplit(flags.coordinator, ',', absl::SkipEmpty())) {
    is_local = is_local && IsLoopbackHost(HostOf(coordinator));
  }
  if (!is_local && (IsWildcard(host) || IsLoopbackHost(host))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the coordinator at ", flags.coordinator,
        " can't reach this worker at ", host,
        ": give --listen an address of this machine that other machines reach, "
        "as in --listen 10.0.0.11:7001, or name it by --advertise-host"));
  }
  if (IsWildcard(host) || host == "localhost") {
    host = host == "::" ? "::1" : "127.0.0.1";
  }
  WorkerAddresses addresses;
  addresses.advertise_host =
      absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
  addresses.group_address =
      flags.group_address.empty() ? host : flags.group_address;
  return addresses;
}

}  // namespace headwise
