#include "model/head_plan/index_ranges.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;

std::string ErrorOf(absl::string_view text, int64_t count) {
  return std::string(ParseIndexRanges(text, count).status().message());
}

TEST(IndexRangesTest, ReadsNumbersRangesAndAll) {
  EXPECT_THAT(*ParseIndexRanges("all", 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(*ParseIndexRanges("0", 1), ElementsAre(0));
  EXPECT_THAT(*ParseIndexRanges("0-2,5,7-7", 8), ElementsAre(0, 1, 2, 5, 7));
}

TEST(IndexRangesTest, SaysWhatIsWrong) {
  for (const char* text : {"", ",", "1,", "1 ", "-1", "1-", "1-2-3", "+1", "01",
                           "1..2", "All", "a", "1234567", "1, 2"}) {
    EXPECT_EQ(ErrorOf(text, 9),
              std::string("\"") + text + "\" is not like \"0-3,7\" or \"all\"");
  }
  EXPECT_EQ(ErrorOf("3,9", 9), "\"3,9\": 9 is outside [0, 8]");
  EXPECT_EQ(ErrorOf("0-999999", 9), "\"0-999999\": 999999 is outside [0, 8]");
  for (const char* part : {"4-3", "1-2,2", "5,4", "3,3"}) {
    EXPECT_THAT(ErrorOf(part, 9),
                testing::HasSubstr("is out of order or names one twice"));
  }
}

// Every subset of six indices.
TEST(IndexRangesTest, ComesBackAsItWas) {
  for (int bits = 1; bits < 64; ++bits) {
    std::vector<int64_t> indices;
    for (int64_t i = 0; i < 6; ++i) {
      if ((bits >> i) & 1) indices.push_back(i);
    }
    const std::string text = FormatIndexRanges(indices, 6);
    EXPECT_EQ(*ParseIndexRanges(text, 6), indices) << text;
  }
  EXPECT_EQ(FormatIndexRanges({0, 1, 2, 4, 6, 7}, 9), "0-2,4,6,7");
  EXPECT_EQ(FormatIndexRanges({0, 1}, 2), "all");
}

}  // namespace
}  // namespace headwise
