#include "server/selection/sort_key.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(SortKeyTest, OrderedBitsRiseWithTheValue) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const std::vector<double> rising = {-kInf,
                                      -1e300,
                                      -1.5,
                                      -1.0,
                                      -1e-300,
                                      -5e-324,
                                      0.0,
                                      5e-324,
                                      1e-300,
                                      1.0,
                                      1.0000000000000002,
                                      1e300,
                                      kInf};
  for (size_t i = 1; i < rising.size(); ++i) {
    EXPECT_LT(OrderedBits(rising[i - 1]), OrderedBits(rising[i])) << rising[i];
  }
  EXPECT_EQ(OrderedBits(-0.0), OrderedBits(0.0));
}

TEST(SortKeyTest, BigEndianBytesSortAsTheNumbers) {
  std::string last;
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{1}, uint64_t{255}, uint64_t{256},
        uint64_t{1} << 40, ~uint64_t{0}}) {
    std::string bytes;
    AppendBigEndian(value, bytes);
    EXPECT_EQ(bytes.size(), 8u);
    EXPECT_EQ(LoadBigEndian(bytes), value);
    EXPECT_LE(last, bytes);
    last = bytes;
  }
}

// All strings of up to 3 of the bytes that matter, before all of these.
TEST(SortKeyTest, DelimitedBytesSortAsTheBytesWhateverFollows) {
  std::vector<std::string> all = {""};
  for (size_t i = 0; i < all.size() && all[i].size() < 3; ++i) {
    for (const char byte : {'\0', '\x01', 'a', '\xfe', '\xff'}) {
      all.push_back(all[i] + byte);
    }
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 1; i < all.size(); ++i) {
    std::string lesser, greater;
    AppendDelimited(all[i - 1], lesser);
    AppendDelimited(all[i], greater);
    EXPECT_LT(lesser + "\xff\xff", greater + std::string(2, '\0')) << i;
  }
}

TEST(SortKeyTest, DelimitedBytesAreTakenBack) {
  for (const std::string& bytes :
       {std::string(), std::string("id"), std::string("\0", 1),
        std::string("a\0\0b\0", 5), std::string("\0\xff\0", 3)}) {
    std::string text;
    AppendDelimited(bytes, text);
    text += "rest";
    absl::string_view view = text;
    std::string taken = "old";
    TakeDelimited(view, taken);
    EXPECT_EQ(taken, bytes);
    EXPECT_EQ(view, "rest");
  }
}

}  // namespace
}  // namespace headwise
