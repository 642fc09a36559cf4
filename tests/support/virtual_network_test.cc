#include "tests/support/virtual_network.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

class VirtualNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto network = VirtualNetwork::Create();
    ASSERT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
    for (const char* host : {"a", "b"}) {
      const absl::Status added = network_->AddHost(host);
      ASSERT_TRUE(added.ok()) << added;
      Serve(host);
    }
  }

  // A program that takes connections on port 7000 there.
  void Serve(const std::string& host) {
    servers_.push_back(
        Start(host,
              "import socket, time\n"
              "s = socket.create_server(('', 7000))\n"
              "print('listens', flush=True)\n"
              "while True:\n"
              "  c = s.accept()[0]; c.sendall(b'x'); c.close()"));
    ASSERT_TRUE(WaitUntil([&] { return !servers_.back()->Log().empty(); },
                          absl::Seconds(20)));
  }

  std::unique_ptr<ChildProcess> Start(const std::string& host,
                                      const std::string& script) {
    std::vector<std::string> command;
    if (!host.empty()) command = network_->PrefixOf(host);
    command.insert(command.end(), {"/usr/bin/python3", "-c", script});
    return ChildProcess::Start(command,
                               folder_.Path(absl::StrCat(num_started_++)))
        .value();
  }

  // Whether `from` (empty: the bridge) can connect to `to`.
  bool Reaches(const std::string& from, const std::string& to) {
    auto client = Start(
        from, absl::StrCat("import socket\nsocket.create_connection(('",
                           network_->AddressOf(to), "', 7000), 1).recv(1)"));
    return client->Wait(absl::Seconds(20)).value_or(-1) == 0;
  }

  std::unique_ptr<VirtualNetwork> network_;
  TemporaryFolder folder_;
  int num_started_ = 0;
  std::vector<std::unique_ptr<ChildProcess>> servers_;
};

TEST_F(VirtualNetworkTest, HostsReachEachOtherUntilTheirLinkIsDown) {
  EXPECT_TRUE(Reaches("a", "b"));
  EXPECT_TRUE(Reaches("", "a"));
  ASSERT_TRUE(network_->SetLink("a", false).ok());
  EXPECT_FALSE(Reaches("", "a"));
  EXPECT_FALSE(Reaches("b", "a"));
  EXPECT_TRUE(Reaches("", "b"));
  ASSERT_TRUE(network_->SetLink("a", true).ok());
  EXPECT_TRUE(WaitUntil([&] { return Reaches("", "a"); }, absl::Seconds(20)));
}

TEST_F(VirtualNetworkTest, HostsThatAreCutOffReachTheBridgeAlone) {
  ASSERT_TRUE(network_->CutOff("a", true).ok());
  ASSERT_TRUE(network_->CutOff("b", true).ok());
  EXPECT_FALSE(Reaches("a", "b"));
  EXPECT_TRUE(Reaches("", "a"));
  EXPECT_TRUE(Reaches("", "b"));
  ASSERT_TRUE(network_->CutOff("a", false).ok());
  EXPECT_TRUE(Reaches("a", "b"));
}

TEST_F(VirtualNetworkTest, ARateIsSetAndTakenBack) {
  ASSERT_TRUE(network_->LimitRate("a", 1'000'000).ok());
  EXPECT_TRUE(Reaches("", "a"));
  const absl::Status back = network_->LimitRate("a", 0);
  EXPECT_TRUE(back.ok()) << back;
}

}  // namespace
}  // namespace headwise
