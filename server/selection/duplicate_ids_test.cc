#include "server/selection/duplicate_ids.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class DuplicateIdsTest : public RowFilesTest {
 protected:
  std::unique_ptr<DuplicateIds> Make() {
    auto ids = DuplicateIds::Create(
        {.max_memory_bytes = 2 * kMinSortBytes, .temp_dir = folder_});
    EXPECT_TRUE(ids.ok()) << ids.status();
    return *std::move(ids);
  }
  static std::vector<int64_t> FindAll(DuplicateIds& ids) {
    std::vector<int64_t> positions;
    const auto count = ids.Find([&positions](int64_t position) {
      positions.push_back(position);
      return absl::OkStatus();
    });
    EXPECT_TRUE(count.ok()) << count.status();
    EXPECT_EQ(count.value_or(-1), static_cast<int64_t>(positions.size()));
    return positions;
  }
};

TEST_F(DuplicateIdsTest, NoIdsHaveNoDuplicates) {
  EXPECT_THAT(FindAll(*Make()), IsEmpty());
}

TEST_F(DuplicateIdsTest, AllButTheFirstAreFoundInOrder) {
  const auto ids = Make();
  int64_t position = 0;
  for (const char* id : {"a", "b", "a", "c", "", "a", "b", ""}) {
    ASSERT_TRUE(ids->Add(id, position++).ok());
  }
  EXPECT_THAT(FindAll(*ids), ElementsAre(2, 5, 6, 7));
}

TEST_F(DuplicateIdsTest, TheOrderOfCallsIsNotSeen) {
  const auto ids = Make();
  ASSERT_TRUE(ids->Add("a", int64_t{1} << 62).ok());
  ASSERT_TRUE(ids->Add("a", 300).ok());
  ASSERT_TRUE(ids->Add("a", 2).ok());
  EXPECT_THAT(FindAll(*ids), ElementsAre(300, int64_t{1} << 62));
}

TEST_F(DuplicateIdsTest, BytesDecideNotHowTheyLook) {
  const auto ids = Make();
  ASSERT_TRUE(ids->Add("a", 0).ok());
  ASSERT_TRUE(ids->Add(absl::string_view("a\0", 2), 1).ok());
  ASSERT_TRUE(ids->Add("A", 2).ok());
  EXPECT_THAT(FindAll(*ids), IsEmpty());
}

// Many runs of ids, and more than one run of what is found.
TEST_F(DuplicateIdsTest, EqualsATableInMemory) {
  std::mt19937_64 random(20261126);
  const auto ids = Make();
  std::set<uint64_t> seen;
  std::vector<int64_t> expected;
  for (int64_t position = 0; position < 300'000; ++position) {
    const uint64_t id = random() % 200'000;
    ASSERT_TRUE(ids->Add(absl::StrCat("document ", id), position).ok());
    if (!seen.insert(id).second) expected.push_back(position);
  }
  EXPECT_TRUE(FindAll(*ids) == expected);
  EXPECT_EQ(NumOtherFiles(), 0);
}

TEST_F(DuplicateIdsTest, AnErrorOfTheCallerEndsIt) {
  const auto ids = Make();
  for (int64_t i = 0; i < 4; ++i) ASSERT_TRUE(ids->Add("a", i).ok());
  int num_calls = 0;
  const auto count = ids->Find([&num_calls](int64_t position) {
    ++num_calls;
    return position < 2 ? absl::OkStatus() : absl::AbortedError("enough");
  });
  EXPECT_EQ(count.status(), absl::AbortedError("enough"));
  EXPECT_EQ(num_calls, 2);
}

TEST_F(DuplicateIdsTest, OptionsAreChecked) {
  auto ids = DuplicateIds::Create(
      {.max_memory_bytes = 2 * kMinSortBytes - 1, .temp_dir = folder_});
  EXPECT_EQ(ids.status().message(),
            "max_memory_bytes is 2097151, must be at least 2097152");
  ids = DuplicateIds::Create({.temp_dir = path("none")});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace headwise
