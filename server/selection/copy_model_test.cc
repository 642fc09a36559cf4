#include "server/selection/copy_model.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(CopyModelTest, TokensThatDoNotRepeatHaveNoCopy) {
  EXPECT_THAT(CopyProbabilities({}), IsEmpty());
  EXPECT_THAT(CopyProbabilities({7}), ElementsAre(0));
  EXPECT_THAT(CopyProbabilities({1, 2, 3, 4, 5, 6}), Each(0));
}

TEST(CopyModelTest, TheLongestRunThatStoodBeforeCounts) {
  // After 1: 2, then 2 again, then 3; after "9 1" nothing yet.
  EXPECT_THAT(CopyProbabilities({1, 2, 8, 1, 2, 9, 1, 3}),
              ElementsAre(0, 0, 0, 0, 0.5, 0, 0, 0));
  EXPECT_THAT(CopyProbabilities({1, 2, 8, 1, 3, 9, 1, 2}),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 1.0 / 3));
  // "5 1" was followed by 2; that 1 alone was by 3 as well does not count.
  EXPECT_THAT(CopyProbabilities({5, 1, 2, 1, 3, 5, 1, 2}),
              ElementsAre(0, 0, 0, 0, 0, 0, 0.5, 0.5));
}

TEST(CopyModelTest, ARunThatGoesOnIsMoreAndMoreLikely) {
  const std::vector<double> p = CopyProbabilities({4, 4, 4, 4, 4, 4, 4, 4});
  EXPECT_EQ(p[1], 0.0);
  EXPECT_TRUE(std::is_sorted(p.begin() + 5, p.end()));
  EXPECT_LT(p.back(), 1.0);
}

TEST(CopyModelTest, EqualsTheDefinitionForRandomTexts) {
  constexpr unsigned kSeed = 20261127;
  std::minstd_rand random(kSeed);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round << " seed " << kSeed);
    std::vector<int32_t> tokens(random() % 50);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 4);
    const std::vector<double> p = CopyProbabilities(tokens);
    for (size_t i = 0; i < tokens.size(); ++i) {
      int any = 0;
      int same = 0;
      for (size_t length = std::min<size_t>(i, 4); length > 0 && any == 0;
           --length) {
        for (size_t j = length; j < i; ++j) {
          const auto end = tokens.begin() + static_cast<std::ptrdiff_t>(j);
          if (!std::equal(
                  end - static_cast<std::ptrdiff_t>(length), end,
                  tokens.begin() + static_cast<std::ptrdiff_t>(i - length))) {
            continue;
          }
          ++any;
          same += tokens[j] == tokens[i] ? 1 : 0;
        }
      }
      EXPECT_EQ(p[i], same / (any + 1.0)) << i;
    }
  }
}

}  // namespace
}  // namespace headwise
