#include "worker/collectives/gloo_address.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <exception>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

struct ResolvedAddress {
  sockaddr_storage address = {};
  socklen_t num_bytes = 0;
};

absl::StatusOr<ResolvedAddress> Resolve(const std::string& host,
                                        const std::string& port, int flags) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", host.substr(0, 80), "\" is no address: ", gai_strerror(error)));
  }
  ResolvedAddress resolved;
  resolved.num_bytes = found->ai_addrlen;
  std::memcpy(&resolved.address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return resolved;
}

bool IsSameHost(const sockaddr* a, const sockaddr* b) {
  if (a->sa_family != b->sa_family) return false;
  if (a->sa_family == AF_INET) {
    const auto* first = reinterpret_cast<const sockaddr_in*>(a);
    const auto* second = reinterpret_cast<const sockaddr_in*>(b);
    return first->sin_addr.s_addr == second->sin_addr.s_addr;
  }
  if (a->sa_family != AF_INET6) return false;
  const auto* first = reinterpret_cast<const sockaddr_in6*>(a);
  const auto* second = reinterpret_cast<const sockaddr_in6*>(b);
  return std::memcmp(&first->sin6_addr, &second->sin6_addr,
                     sizeof(first->sin6_addr)) == 0;
}

// Gloo checks this too, but leaks memory when the answer is no.
bool IsAddressOfAnInterface(const ResolvedAddress& resolved) {
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) != 0) return false;
  bool is_found = false;
  for (const ifaddrs* i = interfaces; i != nullptr; i = i->ifa_next) {
    is_found |=
        i->ifa_addr != nullptr &&
        IsSameHost(i->ifa_addr,
                   reinterpret_cast<const sockaddr*>(&resolved.address));
  }
  freeifaddrs(interfaces);
  return is_found;
}

}  // namespace

std::string FormatGlooAddress(const gloo::transport::Address& address) {
  const auto* tcp =
      dynamic_cast<const gloo::transport::tcp::Address*>(&address);
  HEADWISE_CHECK(tcp != nullptr);
  const sockaddr_storage& storage = tcp->getSockaddr();
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  const int error = getnameinfo(reinterpret_cast<const sockaddr*>(&storage),
                                sizeof(storage), host, sizeof(host), port,
                                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  HEADWISE_CHECK(error == 0);
  return storage.ss_family == AF_INET6 ? absl::StrCat("[", host, "]:", port)
                                       : absl::StrCat(host, ":", port);
}

absl::StatusOr<gloo::transport::tcp::Address> ParseGlooAddress(
    absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos ||
      !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text.substr(0, 80), "\" is not of the form address:port"));
  }
  absl::string_view host = text.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  HEADWISE_ASSIGN_OR_RETURN(
      const ResolvedAddress resolved,
      Resolve(std::string(host), absl::StrCat(port), AI_NUMERICHOST));
  return gloo::transport::tcp::Address(resolved.address);
}

absl::StatusOr<std::shared_ptr<gloo::transport::tcp::Device>> OpenGlooDevice(
    const std::string& bind_address) {
  HEADWISE_ASSIGN_OR_RETURN(const ResolvedAddress resolved,
                            Resolve(bind_address, "0", 0));
  if (!IsAddressOfAnInterface(resolved)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", bind_address, "\" is no address of an interface of this host"));
  }
  gloo::transport::tcp::attr attributes;
  attributes.ai_family = resolved.address.ss_family;
  attributes.ai_socktype = SOCK_STREAM;
  attributes.ai_protocol = 0;
  attributes.ai_addr = resolved.address;
  attributes.ai_addrlen = resolved.num_bytes;
  try {
    return std::make_shared<gloo::transport::tcp::Device>(attributes);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", bind_address, "\" is no interface of this host: ", error.what()));
  }
}

}  // namespace headwise
