#include "base/build_info.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(BuildInfoTest, CommonIsWhatBothHave) {
  for (uint32_t a = 0; a < 4; ++a) {
    for (uint32_t b = 0; b < 4; ++b) {
      for (uint32_t c = 0; c < 4; ++c) {
        for (uint32_t d = 0; d < 4; ++d) {
          const ProtocolRange one = {a, b};
          const ProtocolRange other = {c, d};
          const ProtocolRange common = Common(one, other);
          bool is_empty = true;
          for (uint32_t i = 0; i < 5; ++i) {
            const bool in_both = one.Has(i) && other.Has(i);
            EXPECT_EQ(common.Has(i), in_both)
                << i << " of " << TextOf(one) << ", " << TextOf(other);
            is_empty = is_empty && !in_both;
          }
          EXPECT_EQ(common.empty(), is_empty);
        }
      }
    }
  }
}

TEST(BuildInfoTest, OwnBuildSpeaksSomethingAndSaysIt) {
  const BuildInfo& own = OwnBuild();
  EXPECT_FALSE(own.protocols.empty());
  EXPECT_GE(own.protocols.oldest, 1u) << "0: a build that does not say";
  EXPECT_GE(own.numerics, 1u);
  EXPECT_EQ(TextOf(BuildInfo{"0.2.0", {2, 2}, 7}),
            "build 0.2.0, protocol 2, numerics 7");
  EXPECT_EQ(TextOf(BuildInfo{"0.2.0", {1, 2}, 7}),
            "build 0.2.0, protocols 1 to 2, numerics 7");
}

}  // namespace
}  // namespace headwise
