#include "server/selection/shard_output.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

class ShardOutputTest : public RowFilesTest {
 protected:
  static std::vector<ScoreRow> SomeRows(int num_rows) {
    std::minstd_rand random(3);
    std::vector<ScoreRow> rows;
    for (int i = 0; i < num_rows; ++i) {
      rows.push_back(RowOf(absl::StrCat("doc-", random()), "web",
                           static_cast<double>(random() % 100) / 64.0));
    }
    return rows;
  }
  PartFile WritePart(int64_t shard, const std::vector<ScoreRow>& rows) const {
    auto output = ShardOutput::Create(folder_, shard, "me");
    EXPECT_TRUE(output.ok()) << output.status();
    for (const ScoreRow& row : rows) EXPECT_TRUE((*output)->Add(row).ok());
    auto part = (*output)->Commit();
    EXPECT_TRUE(part.ok()) << part.status();
    return *part;
  }
  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(ShardOutputTest, ReadsBackWhatItWrites) {
  for (const int num_rows : {0, 1, 5000}) {
    const std::vector<ScoreRow> rows = SomeRows(num_rows);
    const PartFile part = WritePart(num_rows, rows);
    EXPECT_EQ(part.num_rows, num_rows);
    std::vector<ScoreRow> read;
    const absl::Status status =
        ReadPart(path(PartName(num_rows)), part.sha256, [&read](ScoreRow& row) {
          read.push_back(row);
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(Lines(read), Lines(rows));
    EXPECT_EQ(Bytes(path(PartName(num_rows))).size(),
              static_cast<size_t>(part.num_bytes));
  }
}

TEST_F(ShardOutputTest, TheSameRowsAreTheSameBytes) {
  const PartFile one = WritePart(1, SomeRows(5000));
  const PartFile two = WritePart(2, SomeRows(5000));
  EXPECT_EQ(one.sha256, two.sha256);
  EXPECT_EQ(Bytes(path(PartName(1))), Bytes(path(PartName(2))));
}

TEST_F(ShardOutputTest, WhatIsNotCommittedLeavesNothing) {
  {
    auto output = ShardOutput::Create(folder_, 7, "me");
    ASSERT_TRUE(output.ok());
    EXPECT_EQ(NumOtherFiles(), 1);
    for (const ScoreRow& row : SomeRows(5000)) {
      ASSERT_TRUE((*output)->Add(row).ok());
    }
  }
  EXPECT_EQ(NumOtherFiles(), 0);
  EXPECT_FALSE(std::filesystem::exists(path(PartName(7))));
}

TEST_F(ShardOutputTest, EveryDamageIsSeen) {
  const PartFile part = WritePart(0, SomeRows(50));
  const std::string bytes = Bytes(path(PartName(0)));
  const auto read = [&](const std::string& damaged) {
    return ReadPart(Write("damaged.zst", damaged), part.sha256,
                    [](ScoreRow&) { return absl::OkStatus(); });
  };
  EXPECT_TRUE(read(bytes).ok());
  for (size_t i = 0; i < bytes.size(); i += 3) {
    std::string damaged = bytes;
    damaged[i] ^= 4;
    EXPECT_TRUE(absl::IsDataLoss(read(damaged))) << i;
    EXPECT_TRUE(absl::IsDataLoss(read(bytes.substr(0, i)))) << i;
  }
  EXPECT_TRUE(absl::IsDataLoss(read(bytes + "x")));
  EXPECT_TRUE(
      absl::IsNotFound(ReadPart(path("none.zst"), part.sha256,
                                [](ScoreRow&) { return absl::OkStatus(); })));
}

TEST_F(ShardOutputTest, NamesSortAsShardsDo) {
  EXPECT_EQ(PartName(0), "part-000000.jsonl.zst");
  EXPECT_EQ(PartName(999'999), "part-999999.jsonl.zst");
}

TEST_F(ShardOutputTest, LeftoversOfTheDeadAreRemoved) {
  Write(".part-000001.jsonl.zst.writing-dead", "x");
  Write(".part-000002.jsonl.zst.writing-alive", "x");
  Write(".hidden", "x");
  Write("part-000003.jsonl.zst", "x");
  ASSERT_TRUE(RemoveLeftovers(folder_, [](absl::string_view writer) {
                return writer == "alive";
              }).ok());
  EXPECT_FALSE(
      std::filesystem::exists(path(".part-000001.jsonl.zst.writing-dead")));
  EXPECT_TRUE(
      std::filesystem::exists(path(".part-000002.jsonl.zst.writing-alive")));
  EXPECT_TRUE(std::filesystem::exists(path(".hidden")));
  EXPECT_TRUE(std::filesystem::exists(path("part-000003.jsonl.zst")));
}

TEST_F(ShardOutputTest, ErrorsNameTheFile) {
  const auto output = ShardOutput::Create(path("gone"), 4, "me");
  EXPECT_TRUE(absl::IsNotFound(output.status()));
  EXPECT_THAT(std::string(output.status().message()),
              HasSubstr("part-000004.jsonl.zst"));
  Write("large", "12345");
  EXPECT_EQ(*ReadWholeFile(path("large"), 5), "12345");
  EXPECT_TRUE(
      absl::IsResourceExhausted(ReadWholeFile(path("large"), 4).status()));
}

}  // namespace
}  // namespace headwise
