#include "server/selection/flag_names.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(FlagNamesTest, FlagsRiseAndAreOneBitEach) {
  uint32_t seen = 0;
  for (const DocumentFlag flag : AllDocumentFlags()) {
    EXPECT_EQ(flag & (flag - 1), 0u) << FlagName(flag);
    EXPECT_GT(flag, seen) << FlagName(flag);
    seen |= flag;
  }
  // 7 that are not scored, 3 that are not ranked, 3 that are.
  EXPECT_EQ(seen, 0x7fu | 0xf00u | 0x70000u);
}

TEST(FlagNamesTest, ANameIsReadBackAsItsFlag) {
  for (const DocumentFlag flag : AllDocumentFlags()) {
    EXPECT_EQ(FlagOfName(FlagName(flag)), flag) << FlagName(flag);
  }
  EXPECT_EQ(FlagName(kDuplicateId), "duplicate_id");
  EXPECT_EQ(FlagName(kInvalidIdType), "invalid_id_type");
}

TEST(FlagNamesTest, OtherNamesAreNone) {
  EXPECT_EQ(FlagOfName(""), std::nullopt);
  EXPECT_EQ(FlagOfName("Duplicate_id"), std::nullopt);
  EXPECT_EQ(FlagOfName("duplicate_ids"), std::nullopt);
}

}  // namespace
}  // namespace headwise
