#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"

namespace headwise {
namespace {

size_t IndexOf(ProxyEnd end) { return static_cast<size_t>(end); }

sockaddr_in AddressOf(const std::string& host, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  HEADWISE_CHECK(inet_pton(AF_INET, host.c_str(), &address.sin_addr) == 1);
  return address;
}

int NewSocket() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  HEADWISE_CHECK(fd >= 0);
  return fd;
}

void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// With a reset instead of an end.
void CloseHard(int fd) {
  const linger hard = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  close(fd);
}

}  // namespace

struct FaultProxy::Connection {
  Connection(int client, int target)
      : fds{client, target},
        pipes{FaultPipe(target, client), FaultPipe(client, target)} {}

  void Forget(size_t end) {
    close(std::exchange(fds[end], -1));
    pipes[end].ForgetTo();
    pipes[1 - end].ForgetFrom();
  }

  std::array<int, 2> fds;                // by ProxyEnd; -1: closed
  std::array<FaultPipe, 2> pipes;        // by the end they go to
  std::array<short, 2> events = {0, 0};  // of fds
  bool is_over = false;
};

absl::StatusOr<std::unique_ptr<FaultProxy>> FaultProxy::Start(
    const std::string& target, uint64_t seed) {
  const size_t colon = target.rfind(':');
  int target_port = 0;
  in_addr host;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(target.substr(colon + 1), &target_port) ||
      inet_pton(AF_INET, target.substr(0, colon).c_str(), &host) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("target ", target, " is not an IPv4 address and port"));
  }
  const int listener = NewSocket();
  sockaddr_in address = AddressOf("127.0.0.1", 0);
  socklen_t length = sizeof(address);
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, plain, length) != 0 || listen(listener, 64) != 0 ||
      getsockname(listener, plain, &length) != 0) {
    const std::string why = std::strerror(errno);
    close(listener);
    return absl::UnavailableError(absl::StrCat("can't listen: ", why));
  }
  return std::unique_ptr<FaultProxy>(
      new FaultProxy(listener, ntohs(address.sin_port), target.substr(0, colon),
                     target_port, seed));
}

FaultProxy::FaultProxy(int listener, int port, const std::string& host,
                       int target_port, uint64_t seed)
    : listener_(listener),
      port_(port),
      target_host_(host),
      target_port_(target_port),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      random_(seed) {
  HEADWISE_CHECK(wake_ >= 0);
  thread_ = std::thread([this] { Loop(); });
}

FaultProxy::~FaultProxy() {
  Order([](Orders& orders) { orders.stop = true; });
  thread_.join();
  for (const auto& connection : connections_) {
    for (const int fd : connection->fds) {
      if (fd >= 0) close(fd);
    }
  }
  close(listener_);
  close(wake_);
}

std::string FaultProxy::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void FaultProxy::Order(absl::FunctionRef<void(Orders&)> change) {
  absl::MutexLock lock(&mutex_);
  change(orders_);
  const int64_t number = ++num_orders_;
  const uint64_t one = 1;
  HEADWISE_CHECK(write(wake_, &one, sizeof(one)) == sizeof(one));
  const auto taken = [this, number]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_taken_ >= number;
  };
  mutex_.Await(absl::Condition(&taken));
}

void FaultProxy::SetFaults(ProxyEnd to, const LinkFaults& faults) {
  Order([&](Orders& orders) { orders.faults[IndexOf(to)] = faults; });
}

void FaultProxy::SetFaults(const LinkFaults& faults) {
  Order([&](Orders& orders) { orders.faults = {faults, faults}; });
}

void FaultProxy::TruncateAfter(ProxyEnd to, int64_t num_bytes) {
  Order([&](Orders& orders) { orders.bytes_left[IndexOf(to)] = num_bytes; });
}

void FaultProxy::Cut() {
  Order([](Orders& orders) { orders.cut = true; });
}

void FaultProxy::Vanish(ProxyEnd end) {
  Order([&](Orders& orders) { orders.vanish[IndexOf(end)] = true; });
}

void FaultProxy::Refuse(bool refuse) {
  Order([&](Orders& orders) { orders.refuse = refuse; });
}

int64_t FaultProxy::num_bytes(ProxyEnd to) const {
  absl::MutexLock lock(&mutex_);
  return num_bytes_[IndexOf(to)];
}

int FaultProxy::num_connections() const {
  absl::MutexLock lock(&mutex_);
  return num_connections_;
}

FaultProxy::Orders FaultProxy::TakeOrders() {
  absl::MutexLock lock(&mutex_);
  num_taken_ = num_orders_;
  Orders orders = orders_;
  orders_.cut = false;
  orders_.vanish = {false, false};
  return orders;
}

void FaultProxy::Loop() {
  while (true) {
    const Orders orders = TakeOrders();
    if (orders.stop) return;
    Obey(orders);
    Poll(orders);
    for (const auto& connection : connections_) Serve(*connection, orders);
    DropEnded();
  }
}

void FaultProxy::Obey(const Orders& orders) {
  for (const auto& connection : connections_) {
    for (size_t end = 0; end < 2; ++end) {
      if (connection->fds[end] < 0) continue;
      if (orders.cut) {
        CloseHard(std::exchange(connection->fds[end], -1));
        connection->is_over = true;
      } else if (orders.vanish[end]) {
        connection->Forget(end);
      }
    }
  }
  DropEnded();
}

// How long nothing needs to be done, unless a socket has news.
absl::Duration FaultProxy::NextWait(const Orders& orders) const {
  const absl::Time now = Clock::Monotonic().Now();
  absl::Duration wait = absl::Seconds(1);
  for (const auto& connection : connections_) {
    for (size_t to = 0; to < 2; ++to) {
      wait = std::min(wait,
                      connection->pipes[to].UntilDue(now, orders.faults[to]));
    }
  }
  return wait;
}

void FaultProxy::Poll(const Orders& orders) {
  const absl::Time now = Clock::Monotonic().Now();
  std::vector<pollfd> polled = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
  for (const auto& connection : connections_) {
    std::array<short, 2> wanted = {0, 0};
    for (size_t to = 0; to < 2; ++to) {
      const FaultPipe& pipe = connection->pipes[to];
      const LinkFaults& faults = orders.faults[to];
      if (faults.is_blocked) continue;
      if (pipe.WantsToRead()) wanted[1 - to] |= POLLIN;
      // A throttled link tries by the clock.
      if (pipe.HasDue(now) && faults.bytes_per_second == 0) {
        wanted[to] |= POLLOUT;
      }
    }
    for (size_t end = 0; end < 2; ++end) {
      // Nothing wanted: not even errors, or a blocked link would be polled
      // without a rest. poll() leaves out what is negative.
      const int fd = wanted[end] != 0 ? connection->fds[end] : -1;
      polled.push_back({fd, wanted[end], 0});
    }
  }
  const absl::Duration wait = NextWait(orders) + absl::Microseconds(999);
  poll(polled.data(), polled.size(),
       static_cast<int>(absl::ToInt64Milliseconds(wait)));
  if (polled[0].revents != 0) {
    uint64_t ignored = 0;
    HEADWISE_CHECK(read(wake_, &ignored, sizeof(ignored)) == sizeof(ignored));
  }
  for (size_t i = 0; i < connections_.size(); ++i) {
    connections_[i]->events = {polled[2 + 2 * i].revents,
                               polled[3 + 2 * i].revents};
  }
  if (polled[1].revents != 0) Accept(orders.refuse);
}

void FaultProxy::Accept(bool refuse) {
  const int client =
      accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  if (refuse || connections_.size() >= kMaxConnections) {
    CloseHard(client);
    return;
  }
  const int target = NewSocket();
  const sockaddr_in address = AddressOf(target_host_, target_port_);
  if (connect(target, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) != 0 &&
      errno != EINPROGRESS) {
    CloseHard(client);
    close(target);
    return;
  }
  SetNoDelay(client);
  SetNoDelay(target);
  connections_.push_back(std::make_unique<Connection>(client, target));
}

bool FaultProxy::Pass(FaultPipe& pipe, size_t to, const LinkFaults& faults) {
  // Held while it sends: who has received the bytes finds them counted.
  absl::MutexLock lock(&mutex_);
  const int64_t limit =
      orders_.bytes_left[to].value_or(std::numeric_limits<int64_t>::max());
  const int64_t sent = pipe.Write(faults, Clock::Monotonic().Now(), limit);
  num_bytes_[to] += sent;
  std::optional<int64_t>& left = orders_.bytes_left[to];
  if (!left.has_value()) return true;
  *left -= sent;
  if (*left > 0) return true;
  left.reset();
  return false;
}

void FaultProxy::Serve(Connection& connection, const Orders& orders) {
  for (size_t to = 0; to < 2; ++to) {
    const LinkFaults& faults = orders.faults[to];
    if (faults.is_blocked) continue;
    FaultPipe& pipe = connection.pipes[to];
    if (connection.events[1 - to] != 0) {
      pipe.Read(faults, Clock::Monotonic().Now(), random_);
    }
    if (!Pass(pipe, to, faults)) connection.is_over = true;
  }
  // Of a half-open one the end that remains may close it.
  bool is_over = true;
  for (size_t to = 0; to < 2; ++to) {
    if (connection.fds[1 - to] >= 0) is_over &= connection.pipes[to].IsOver();
  }
  connection.is_over |= is_over;
}

void FaultProxy::DropEnded() {
  int num_whole = 0;
  for (auto& connection : connections_) {
    const auto& fds = connection->fds;
    if (!connection->is_over) {
      num_whole += fds[0] >= 0 && fds[1] >= 0 ? 1 : 0;
      continue;
    }
    for (const int fd : fds) {
      if (fd >= 0) close(fd);
    }
    connection = nullptr;
  }
  connections_.erase(
      std::remove(connections_.begin(), connections_.end(), nullptr),
      connections_.end());
  absl::MutexLock lock(&mutex_);
  num_connections_ = num_whole;
}

}  // namespace headwise
