#include "base/host_address.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(HostAddressTest, HostsAreWithoutPortAndBrackets) {
  EXPECT_EQ(HostOf("10.0.0.1:7600"), "10.0.0.1");
  EXPECT_EQ(HostOf("[::1]:7600"), "::1");
  EXPECT_EQ(HostOf("name"), "name");
  EXPECT_EQ(HostOf(""), "");
}

}  // namespace
}  // namespace headwise
