// What forming a group over Gloo refuses, from peers and from strangers.

#include "worker/collectives/pending_gloo_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "worker/collectives/group_factory.h"

// The library is not instrumented: its locks would be invisible.
#if !defined(__SANITIZE_THREAD__)

namespace headwise {
namespace {

using ::testing::HasSubstr;

GroupSpec SpecOf(int rank, int world_size) {
  return {.kind = GroupKind::kGloo,
          .rank = rank,
          .world_size = world_size,
          .membership_epoch = 7,
          .join_timeout = absl::Milliseconds(200)};
}

std::string MessageOf(const absl::StatusOr<std::unique_ptr<Group>>& group) {
  return std::string(group.status().ToString());
}

TEST(GlooJoinTest, BindAddressMustBeOurs) {
  GroupSpec spec = SpecOf(0, 2);
  // 192.0.2.0/24 is for documentation; .invalid never resolves.
  for (const char* address :
       {"192.0.2.1", "0.0.0.0", "", "no.such.name.invalid"}) {
    spec.bind_address = address;
    EXPECT_TRUE(absl::IsInvalidArgument(PendingGroup::Prepare(spec).status()))
        << address << ": " << PendingGroup::Prepare(spec).status();
  }
}

TEST(GlooJoinTest, AddressesMustBeNumericAndOnePerRank) {
  for (const char* at : {"-", "-,", "-,localhost:80", "-,127.0.0.1",
                         "-,127.0.0.1:0", "-,127.0.0.1:65536", "-,a,b"}) {
    const auto mine = PendingGroup::Prepare(SpecOf(1, 2));
    ASSERT_TRUE(mine.ok());
    const std::string lie = absl::StrCat(
        "headwise-group/1 kind=gloo rank=0 world_size=2 epoch=7 at=", at);
    const auto group = (*mine)->Join({lie, (*mine)->endpoint()});
    EXPECT_TRUE(absl::IsInvalidArgument(group.status()))
        << at << ": " << group.status();
  }
}

TEST(GlooJoinTest, LoopbackBesideAnotherMachineIsNamedAsTheCause) {
  // 192.0.2.0/24 is for documentation: nobody answers there.
  for (const char* at : {"-,192.0.2.1:9", "-,127.0.0.1:9"}) {
    const auto mine = PendingGroup::Prepare(SpecOf(1, 2));
    ASSERT_TRUE(mine.ok());
    const auto group = (*mine)->Join(
        {absl::StrCat("headwise-group/1 kind=gloo rank=0 world_size=2 epoch=7 "
                      "at=",
                      at),
         (*mine)->endpoint()});
    EXPECT_EQ(absl::StrContains(MessageOf(group), "--group-address"),
              absl::StrContains(at, "192.0.2.1"))
        << MessageOf(group);
  }
}

// A peer that knows our port and talks as another rank, or of another epoch.
TEST(GlooJoinTest, ImpostorIsRefused) {
  const auto mine = PendingGroup::Prepare(SpecOf(0, 2));
  GroupSpec old = SpecOf(1, 2);
  old.membership_epoch = 6;
  const auto theirs = PendingGroup::Prepare(old);
  ASSERT_TRUE(mine.ok() && theirs.ok());
  const auto as_epoch = [](std::string endpoint, int epoch) {
    endpoint.replace(endpoint.find("epoch=") + 6, 1, absl::StrCat(epoch));
    return endpoint;
  };
  std::thread impostor([&] {
    const auto group = (*theirs)->Join(
        {as_epoch((*mine)->endpoint(), 6), (*theirs)->endpoint()});
    EXPECT_FALSE(group.ok());
  });
  const auto group =
      (*mine)->Join({(*mine)->endpoint(), as_epoch((*theirs)->endpoint(), 7)});
  impostor.join();
  EXPECT_THAT(MessageOf(group), HasSubstr("in epoch 6"));
}

// Whoever scans ports reaches our sockets while a group forms.
class GlooStrangerTest : public testing::Test {
 protected:
  GlooStrangerTest() {
    GroupSpec spec = SpecOf(0, 2);
    spec.options.timeout = absl::Milliseconds(200);
    mine_ = *PendingGroup::Prepare(spec);
    spec.rank = 1;
    theirs_ = *PendingGroup::Prepare(spec);
    const std::string& endpoint = mine_->endpoint();
    int port = 0;
    EXPECT_TRUE(
        absl::SimpleAtoi(endpoint.substr(endpoint.rfind(':') + 1), &port));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stranger_ = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(stranger_, reinterpret_cast<sockaddr*>(&address),
                      sizeof(address)),
              0);
  }
  ~GlooStrangerTest() override { close(stranger_); }
  void Say(const std::string& bytes) {
    EXPECT_EQ(send(stranger_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  absl::Status Join() {
    return mine_->Join({mine_->endpoint(), theirs_->endpoint()}).status();
  }

  std::unique_ptr<PendingGroup> mine_;
  std::unique_ptr<PendingGroup> theirs_;
  int stranger_ = -1;
};

TEST_F(GlooStrangerTest, NoiseEndsTheGroup) {
  std::mt19937_64 random(20240611);
  std::string noise(4096, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  Say(noise);
  EXPECT_FALSE(Join().ok());
}

// A frame as Gloo sends it, with data for a receive that nobody has posted. In
// Gloo's event thread that would be the end of the process.
TEST_F(GlooStrangerTest, UnaskedDataEndsTheConnectionAndNotTheProcess) {
  const uint64_t frame[] = {6 * 8 + 16, 1, 42, 0, 16, 0, 0, 0};
  Say({reinterpret_cast<const char*>(frame), sizeof(frame)});
  char byte;
  EXPECT_LE(recv(stranger_, &byte, 1, 0), 0);  // waits for the close
  EXPECT_FALSE(Join().ok());
}

}  // namespace
}  // namespace headwise

#endif  // !defined(__SANITIZE_THREAD__)
