#include "tests/support/virtual_network.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr absl::Duration kToolTimeout = absl::Seconds(20);

absl::Status NotAllowed(const std::string& what, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "this machine gives tests no network of their own: ", what, ": ", why,
      " (root with CAP_NET_ADMIN, iproute2 and "
      "util-linux are needed)"));
}

// The end of a host's link that lies on the bridge.
std::string PortOf(const std::string& name) {
  return absl::StrCat("hw-", name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VirtualNetwork>> VirtualNetwork::Create() {
  const int origin = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (origin < 0)
    return NotAllowed("/proc/thread-self/ns/net", strerror(errno));
  if (unshare(CLONE_NEWNET) != 0) {
    const std::string why = strerror(errno);
    close(origin);
    return NotAllowed("unshare(CLONE_NEWNET)", why);
  }
  std::unique_ptr<VirtualNetwork> network(new VirtualNetwork(origin));
  HEADWISE_RETURN_IF_ERROR(network->Run(absl::StrCat(
      "ip link set lo up && ip link add hw-bridge type bridge && "
      "ip addr add ",
      own_address(), "/24 dev hw-bridge && ip link set hw-bridge up")));
  return network;
}

VirtualNetwork::~VirtualNetwork() {
  hosts_.clear();
  HEADWISE_CHECK(setns(origin_, CLONE_NEWNET) == 0);
  close(origin_);
}

absl::Status VirtualNetwork::Run(const std::string& command) {
  const std::string log = folder_.Path(absl::StrCat("tool", num_commands_++));
  HEADWISE_ASSIGN_OR_RETURN(
      const auto process,
      ChildProcess::Start(
          {"/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + command}, log));
  HEADWISE_ASSIGN_OR_RETURN(const int status, process->Wait(kToolTimeout));
  if (status == 0) return absl::OkStatus();
  return NotAllowed(command,
                    absl::StrCat("status ", status, ", ",
                                 absl::StripAsciiWhitespace(process->Log())));
}

absl::Status VirtualNetwork::WaitForNamespace(const Host& host) const {
  struct stat ours;
  HEADWISE_CHECK(stat("/proc/thread-self/ns/net", &ours) == 0);
  const std::string path =
      absl::StrCat("/proc/", host.holder->pid(), "/ns/net");
  const bool has_moved = WaitUntil(
      [&] {
        struct stat theirs;
        return stat(path.c_str(), &theirs) == 0 && theirs.st_ino != ours.st_ino;
      },
      kToolTimeout);
  return has_moved ? absl::OkStatus()
                   : NotAllowed("unshare --net", host.holder->Log());
}

absl::Status VirtualNetwork::AddHost(const std::string& name) {
  HEADWISE_CHECK(!name.empty() && name.size() <= 8);
  HEADWISE_CHECK(hosts_.count(name) == 0);
  Host host;
  host.number = static_cast<int>(hosts_.size()) + 2;
  HEADWISE_CHECK(host.number < 255);
  HEADWISE_ASSIGN_OR_RETURN(
      host.holder,
      ChildProcess::Start({"/usr/bin/unshare", "--net", "/bin/sleep", "86400"},
                          folder_.Path(name)));
  HEADWISE_RETURN_IF_ERROR(WaitForNamespace(host));
  const std::string port = PortOf(name);
  const std::string there =
      absl::StrCat("nsenter --net=/proc/", host.holder->pid(), "/ns/net ip ");
  HEADWISE_RETURN_IF_ERROR(Run(absl::StrCat(
      "ip link add ", port, " type veth peer name eth0 netns ",
      host.holder->pid(), " && ip link set ", port, " master hw-bridge up && ",
      there, "link set lo up && ", there, "addr add 10.77.0.", host.number,
      "/24 dev eth0 && ", there, "link set eth0 up")));
  hosts_.emplace(name, std::move(host));
  return absl::OkStatus();
}

std::string VirtualNetwork::AddressOf(const std::string& name) const {
  return absl::StrCat("10.77.0.", hosts_.at(name).number);
}

std::vector<std::string> VirtualNetwork::PrefixOf(
    const std::string& name) const {
  return {
      "/usr/bin/nsenter",
      absl::StrCat("--net=/proc/", hosts_.at(name).holder->pid(), "/ns/net")};
}

absl::Status VirtualNetwork::SetLink(const std::string& name, bool is_up) {
  return Run(
      absl::StrCat("ip link set ", PortOf(name), is_up ? " up" : " down"));
}

absl::Status VirtualNetwork::CutOff(const std::string& name, bool is_cut_off) {
  return Run(absl::StrCat("ip link set dev ", PortOf(name),
                          " type bridge_slave isolated ",
                          is_cut_off ? "on" : "off"));
}

absl::Status VirtualNetwork::LimitRate(const std::string& name,
                                       int64_t bits_per_second) {
  const std::string there =
      absl::StrCat("nsenter --net=/proc/", hosts_.at(name).holder->pid(),
                   "/ns/net tc qdisc ");
  if (bits_per_second == 0) {
    return Run(absl::StrCat("tc qdisc del dev ", PortOf(name), " root && ",
                            there, "del dev eth0 root"));
  }
  // The queue holds a second and a half, as a poor link's does.
  const std::string limit = absl::StrCat(" root tbf rate ", bits_per_second,
                                         "bit burst 16kb latency 1500ms");
  return Run(absl::StrCat("tc qdisc replace dev ", PortOf(name), limit, " && ",
                          there, "replace dev eth0", limit));
}

}  // namespace headwise
