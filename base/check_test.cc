#include "base/check.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(CheckTest, EndsTheProcessWithPlaceAndConditionOnlyIfItFails) {
  HEADWISE_CHECK(1 + 1 == 2);
  EXPECT_DEATH(HEADWISE_CHECK(1 + 1 == 3),
               "check_test.cc:[0-9]+: CHECK failed: 1 . 1 == 3");
}

}  // namespace
}  // namespace headwise
