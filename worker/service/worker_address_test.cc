#include "worker/service/worker_address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

std::string Resolved(const WorkerAddressFlags& flags) {
  const auto addresses = ResolveAddresses(flags);
  if (!addresses.ok()) return std::string(addresses.status().message());
  return addresses->advertise_host + " " + addresses->group_address;
}

TEST(WorkerAddressTest, GroupAddressIsTheAdvertisedHostIsThatOfListen) {
  EXPECT_EQ(
      Resolved({.listen = "10.0.0.11:7001", .coordinator = "10.0.0.10:7600"}),
      "10.0.0.11 10.0.0.11");
  EXPECT_EQ(Resolved({.listen = "0.0.0.0:7001",
                      .coordinator = "10.0.0.10:7600",
                      .advertise_host = "10.0.0.11"}),
            "10.0.0.11 10.0.0.11");
  EXPECT_EQ(Resolved({.listen = "0.0.0.0:7001",
                      .coordinator = "c:7600",
                      .advertise_host = "w.example",
                      .group_address = "192.168.0.3"}),
            "w.example 192.168.0.3");
  EXPECT_EQ(Resolved({.listen = "[fd00::11]:7001", .coordinator = "c:7600"}),
            "[fd00::11] fd00::11");
  EXPECT_EQ(Resolved({.listen = "[::]:7001",
                      .coordinator = "c:7600",
                      .advertise_host = "fd00::11"}),
            "[fd00::11] fd00::11");
}

TEST(WorkerAddressTest, WildcardIsThisMachineForACoordinatorOnIt) {
  for (const char* coordinator : {"", "127.0.0.1:7600", "localhost:7600"}) {
    for (const char* listen : {"127.0.0.1:0", "0.0.0.0:0", "localhost:0"}) {
      EXPECT_EQ(Resolved({.listen = listen, .coordinator = coordinator}),
                "127.0.0.1 127.0.0.1")
          << listen << " " << coordinator;
    }
  }
  EXPECT_EQ(Resolved({.listen = "[::]:0", .coordinator = "[::1]:7600"}),
            "[::1] ::1");
}

TEST(WorkerAddressTest, UnreachableForTheCoordinatorIsRefusedWithTheFlag) {
  for (const char* listen : {"127.0.0.1:0", "0.0.0.0:7001", "[::]:7001",
                             "[::1]:7001", "localhost:7001", ":7001"}) {
    const std::string refused =
        Resolved({.listen = listen, .coordinator = "10.0.0.10:7600"});
    EXPECT_THAT(refused, HasSubstr("10.0.0.10:7600")) << listen;
    EXPECT_THAT(refused, HasSubstr("--listen 10.0.0.11:7001")) << listen;
  }
  EXPECT_THAT(Resolved({.listen = "10.0.0.11:7001",
                        .coordinator = "c:7600",
                        .advertise_host = "0.0.0.0"}),
              HasSubstr("at 0.0.0.0"));
  EXPECT_THAT(Resolved({.listen = "7001"}), HasSubstr("is not host:port"));
}

}  // namespace
}  // namespace headwise
