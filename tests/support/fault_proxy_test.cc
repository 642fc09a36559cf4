#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

// One end of a connection, blocking.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;

  static std::unique_ptr<Socket> Connect(const std::string& address) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.find(':') + 1), &port));
    to.sin_port = htons(static_cast<uint16_t>(port));
    auto end = std::make_unique<Socket>(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(end->fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)),
              0);
    return end;
  }

  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  bool HasNews(absl::Duration timeout) const {
    pollfd polled = {fd_, POLLIN, 0};
    return poll(&polled, 1,
                static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 1;
  }
  // Up to `size` bytes; fewer if the other side ends before.
  std::string Receive(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size && HasNews(kLong)) {
      const ssize_t count = read(fd_, bytes.data() + have, size - have);
      error_ = count < 0 ? errno : 0;
      if (count <= 0) break;
      have += static_cast<size_t>(count);
    }
    bytes.resize(have);
    return bytes;
  }
  int error() const { return error_; }  // of the last Receive

 private:
  const int fd_;
  int error_ = 0;
};

class FaultProxyTest : public testing::Test {
 protected:
  FaultProxyTest() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* const plain = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, plain, length), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    EXPECT_EQ(getsockname(listener_, plain, &length), 0);
    proxy_ =
        FaultProxy::Start(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)))
            .value();
  }
  ~FaultProxyTest() override { close(listener_); }

  void Connect() {
    client_ = Socket::Connect(proxy_->address());
    target_ = std::make_unique<Socket>(accept(listener_, nullptr, nullptr));
    ASSERT_TRUE(
        WaitUntil([this] { return proxy_->num_connections() == 1; }, kLong));
  }

  static absl::Duration Since(absl::Time begin) {
    return Clock::Monotonic().Now() - begin;
  }

  int listener_;
  std::unique_ptr<FaultProxy> proxy_;
  std::unique_ptr<Socket> client_;
  std::unique_ptr<Socket> target_;
};

TEST_F(FaultProxyTest, WithoutFaultsBytesAndEndsPassBothWays) {
  Connect();
  const std::string megabytes(3'000'000, 'x');
  std::thread sender([&] { client_->Send(megabytes); });
  EXPECT_EQ(target_->Receive(megabytes.size()), megabytes);
  sender.join();
  target_->Send("back");
  EXPECT_EQ(client_->Receive(4), "back");
  EXPECT_EQ(proxy_->num_bytes(ProxyEnd::kTarget), 3'000'000);
  EXPECT_EQ(proxy_->num_bytes(ProxyEnd::kClient), 4);
  client_.reset();
  EXPECT_EQ(target_->Receive(1), "");
  EXPECT_EQ(target_->error(), 0) << "an end, no reset";
  target_.reset();
  EXPECT_TRUE(
      WaitUntil([this] { return proxy_->num_connections() == 0; }, kLong));
}

TEST_F(FaultProxyTest, DelayAndJitterHoldBackAndKeepTheOrder) {
  Connect();
  proxy_->SetFaults(
      {.delay = absl::Milliseconds(100), .jitter = absl::Milliseconds(50)});
  const absl::Time begin = Clock::Monotonic().Now();
  for (char c = 'a'; c <= 'j'; ++c) client_->Send(std::string(1, c));
  EXPECT_EQ(target_->Receive(10), "abcdefghij");
  EXPECT_GE(Since(begin), absl::Milliseconds(100));
}

TEST_F(FaultProxyTest, ThrottleBoundsTheRateOfOneDirection) {
  Connect();
  proxy_->SetFaults(ProxyEnd::kTarget, {.bytes_per_second = 100'000});
  const std::string bytes(50'000, 'x');
  const absl::Time begin = Clock::Monotonic().Now();
  client_->Send(bytes);
  EXPECT_EQ(target_->Receive(bytes.size()), bytes);
  // Half a second, but for what may go at once.
  EXPECT_GE(Since(begin), absl::Milliseconds(450));
}

TEST_F(FaultProxyTest, BlockedDirectionLosesNothingAndTheOtherOneWorks) {
  Connect();
  proxy_->SetFaults(ProxyEnd::kTarget, {.is_blocked = true});
  client_->Send("later");
  target_->Send("now");
  EXPECT_EQ(client_->Receive(3), "now");
  EXPECT_FALSE(target_->HasNews(absl::Milliseconds(50)));
  proxy_->SetFaults({});
  EXPECT_EQ(target_->Receive(5), "later");
}

TEST_F(FaultProxyTest, FlipsChangeBitsAndNoLength) {
  Connect();
  proxy_->SetFaults(ProxyEnd::kTarget, {.flip_one_in = 100});
  const std::string zeros(100'000, '\0');
  client_->Send(zeros);
  const std::string got = target_->Receive(zeros.size());
  ASSERT_EQ(got.size(), zeros.size());
  const int64_t flipped = std::count_if(got.begin(), got.end(),
                                        [](char byte) { return byte != 0; });
  EXPECT_GT(flipped, 800);  // of 1,000 expected
  EXPECT_LT(flipped, 1200);
}

TEST_F(FaultProxyTest, TruncationPassesSoManyBytesAndNoMore) {
  Connect();
  proxy_->TruncateAfter(ProxyEnd::kTarget, 1234);
  client_->Send(std::string(5000, 'x'));
  EXPECT_EQ(target_->Receive(5000).size(), 1234u);
  // Once only.
  Connect();
  client_->Send("whole");
  EXPECT_EQ(target_->Receive(5), "whole");
}

TEST_F(FaultProxyTest, CutResetsBothEnds) {
  Connect();
  proxy_->Cut();
  EXPECT_EQ(client_->Receive(1), "");
  EXPECT_EQ(client_->error(), ECONNRESET);
  EXPECT_EQ(target_->Receive(1), "");
  EXPECT_EQ(target_->error(), ECONNRESET);
}

TEST_F(FaultProxyTest, AnEndThatVanishesIsNotMissedByTheOther) {
  Connect();
  proxy_->Vanish(ProxyEnd::kClient);
  EXPECT_EQ(client_->Receive(1), "");
  target_->Send(std::string(1000, 'x'));  // swallowed
  EXPECT_FALSE(target_->HasNews(absl::Milliseconds(100)));
  EXPECT_EQ(proxy_->num_connections(), 0);
}

TEST_F(FaultProxyTest, RefusedAndTooManyConnectionsAreClosedAtOnce) {
  proxy_->Refuse(true);
  EXPECT_EQ(Socket::Connect(proxy_->address())->Receive(1), "");
  proxy_->Refuse(false);
  std::vector<std::unique_ptr<Socket>> ends;
  for (size_t i = 0; i < FaultProxy::kMaxConnections; ++i) {
    ends.push_back(Socket::Connect(proxy_->address()));
    ends.push_back(
        std::make_unique<Socket>(accept(listener_, nullptr, nullptr)));
  }
  ASSERT_TRUE(WaitUntil(
      [this] {
        return proxy_->num_connections() ==
               static_cast<int>(FaultProxy::kMaxConnections);
      },
      kLong));
  EXPECT_EQ(Socket::Connect(proxy_->address())->Receive(1), "");
  ends[0]->Send("served");
  EXPECT_EQ(ends[1]->Receive(6), "served");
}

TEST_F(FaultProxyTest, TargetMustBeAnAddress) {
  for (const char* target : {"", "127.0.0.1", "localhost:1", "127.0.0.1:x"}) {
    EXPECT_FALSE(FaultProxy::Start(target).ok()) << target;
  }
}

}  // namespace
}  // namespace headwise
