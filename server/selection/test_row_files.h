// Files of rows for tests.

#ifndef HEADWISE_SERVER_SELECTION_TEST_ROW_FILES_H_
#define HEADWISE_SERVER_SELECTION_TEST_ROW_FILES_H_

#include <stdlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/selection/row_codec.h"

namespace headwise {

// A folder of its own that goes with the test.
class RowFilesTest : public testing::Test {
 protected:
  RowFilesTest() {
    std::string path = testing::TempDir() + "headwise_rows_XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  ~RowFilesTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const {
    return folder_ + "/" + name;
  }
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  std::string WriteRows(const std::string& name,
                        const std::vector<ScoreRow>& rows) const {
    return Write(name, Lines(rows));
  }
  // What is in the folder, but for what the test wrote by a name with a dot.
  int NumOtherFiles() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      if (name.find('.') == std::string::npos || name[0] == '.') ++count;
    }
    return count;
  }

  static std::string Lines(const std::vector<ScoreRow>& rows) {
    std::string lines;
    for (const ScoreRow& row : rows) lines += RowToJson(row) + "\n";
    return lines;
  }
  static std::string Zstd(const std::string& text) {
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    const size_t size =
        ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(),
                      /*compressionLevel=*/3);
    EXPECT_FALSE(ZSTD_isError(size));
    packed.resize(size);
    return packed;
  }

  std::string folder_;
};

// A row with that score but for rounding: a loss of 2 nats for each token.
inline ScoreRow RowOf(const std::string& id, const std::string& domain,
                      double score, int64_t num_tokens = 100) {
  ScoreRow row{.doc_id = id, .domain = domain};
  row.loss.num_tokens = num_tokens;
  row.loss.base = 2.0 * static_cast<double>(num_tokens);
  row.loss.masked = row.loss.base * (1.0 + score);
  return row;
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_TEST_ROW_FILES_H_
