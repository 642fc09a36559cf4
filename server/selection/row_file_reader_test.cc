#include "server/selection/row_file_reader.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RowFileReaderTest : public RowFilesTest {
 protected:
  // The ids of all rows; what ended it is in status_.
  std::vector<std::string> Ids(const std::string& path) {
    auto reader = RowFileReader::Open(path);
    status_ = reader.status();
    std::vector<std::string> ids;
    ScoreRow row;
    while (status_.ok()) {
      const absl::StatusOr<bool> is_row = (*reader)->Next(row);
      status_ = is_row.status();
      if (!is_row.ok() || !*is_row) break;
      ids.push_back(row.doc_id);
    }
    return ids;
  }
  void ExpectDataLoss(const std::string& what) {
    EXPECT_EQ(status_.code(), absl::StatusCode::kDataLoss) << status_;
    EXPECT_THAT(std::string(status_.message()), HasSubstr(what));
  }

  const std::vector<ScoreRow> rows_ = {
      RowOf("a", "web", 0.1), RowOf("b", "web", 0.2), RowOf("c", "code", 0.3)};
  absl::Status status_;
};

TEST_F(RowFileReaderTest, ReadsPlainAndCompressedFiles) {
  EXPECT_THAT(Ids(WriteRows("plain.jsonl", rows_)), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_THAT(Ids(Write("one.jsonl.zst", Zstd(Lines(rows_)))),
              ElementsAre("a", "b", "c"));
  EXPECT_TRUE(status_.ok()) << status_;
  // Frames need not end with a line.
  const std::string lines = Lines(rows_);
  EXPECT_THAT(Ids(Write("two.jsonl.zst",
                        Zstd(lines.substr(0, 50)) + Zstd(lines.substr(50)))),
              ElementsAre("a", "b", "c"));
  EXPECT_TRUE(status_.ok()) << status_;
}

TEST_F(RowFileReaderTest, AFileOfNoRowsIsEmpty) {
  EXPECT_THAT(Ids(Write("empty.jsonl", "")), ElementsAre());
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_THAT(Ids(Write("empty.jsonl.zst", Zstd(""))), ElementsAre());
  EXPECT_TRUE(status_.ok()) << status_;
}

TEST_F(RowFileReaderTest, ALineThatIsNoRowIsNamed) {
  std::string lines = Lines(rows_);
  lines.insert(lines.find("{\"doc_id\":\"c\""), "\n");
  EXPECT_THAT(Ids(Write("rows.jsonl", lines)), ElementsAre("a", "b"));
  ExpectDataLoss(path("rows.jsonl") + ", line 3: byte 0: expected");
}

// Wherever it is cut: at line ends nothing is amiss with a plain file.
TEST_F(RowFileReaderTest, AFileThatIsCutShortIsNotWhole) {
  const std::string lines = Lines(rows_);
  for (size_t size = 1; size < lines.size(); ++size) {
    if (lines[size - 1] == '\n') continue;
    Ids(Write("cut.jsonl", lines.substr(0, size)));
    ExpectDataLoss("the file ends within the line");
  }
  const std::string packed = Zstd(lines);
  for (size_t size = 0; size < packed.size(); ++size) {
    if (size == 0) continue;  // no frames hold no rows
    Ids(Write("cut.jsonl.zst", packed.substr(0, size)));
    ExpectDataLoss(path("cut.jsonl.zst") + ", line ");
  }
}

TEST_F(RowFileReaderTest, OtherFilesAreNotOpened) {
  Ids(path("rows.parquet"));
  EXPECT_EQ(status_.code(), absl::StatusCode::kInvalidArgument) << status_;
  Ids(path("rows.txt"));
  EXPECT_EQ(status_.code(), absl::StatusCode::kInvalidArgument) << status_;
  Ids(path("none.jsonl"));
  EXPECT_EQ(status_.code(), absl::StatusCode::kNotFound) << status_;
  EXPECT_THAT(std::string(status_.message()), HasSubstr(path("none.jsonl")));
}

}  // namespace
}  // namespace headwise
