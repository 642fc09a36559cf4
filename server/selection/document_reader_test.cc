#include "server/selection/document_reader.h"

#include <filesystem>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/input_fixture.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// id, domain, text, flags
using Row = std::tuple<std::string, std::string, std::string, uint32_t>;

std::vector<Row> RowsOf(const std::vector<Document>& documents) {
  std::vector<Row> rows;
  for (const Document& document : documents) {
    rows.emplace_back(document.id, document.domain, document.text,
                      document.flags);
  }
  return rows;
}

class DocumentReaderTest : public testing::Test {
 protected:
  std::vector<Row> Rows(const InputOptions& options) const {
    return RowsOf(ReadAll(options));
  }
  std::vector<Row> Rows() const { return Rows(tree_.Options()); }

  const InputTree tree_;
};

TEST_F(DocumentReaderTest, ReadsLines) {
  tree_.Write("a.jsonl",
              "\xEF\xBB\xBF{\"id\":\"a\",\"text\":\"one\",\"domain\":\"web\"}"
              "\r\n\n  \t\r\n"
              "  {\"id\":7,\"text\":\"two\"}  \n"
              "{\"id\":\"c\",\"text\":\"three\",\"domain\":null}");
  InputOptions options = tree_.Options();
  EXPECT_THAT(Rows(options),
              ElementsAre(Row("a", "web", "one", 0), Row("7", "", "two", 0),
                          Row("c", "", "three", 0)));
  options.domain = "other";
  EXPECT_THAT(Rows(options), ElementsAre(Row("a", "web", "one", 0),
                                         Row("7", "other", "two", 0),
                                         Row("c", "other", "three", 0)));
}

TEST_F(DocumentReaderTest, EveryBadLineIsARowThatSaysWhy) {
  tree_.Write("d/a.jsonl",
              "{\"text\":\"no id\"}\n"          // at 0
              "{\"id\":1.5,\"text\":\"t\"}\n"   // at 17
              "{\"id\":\"c\"}\n"                // at 39
              "{\"id\":\"d\",\"text\":7}\n"     // at 50
              "{\"id\":\"e\",\"text\":\"\"}\n"  // at 70
              "{\"id\":\"f\",\"text\":\"x\n"    // at 91
              "[]\n"                            // at 111
              "{\"id\":\"g\",\"text\":\"\xff\"}\n"
              "{\"id\":\"\\ud800\",\"text\":\"x\",\"domain\":\"\xff\"}\n"
              "{\"id\":\"\",\"text\":\"last\"}\n");
  const std::string replacement = "\xEF\xBF\xBD";
  const std::vector<Row> rows = Rows();
  ASSERT_EQ(rows.size(), 10u);
  const std::string last_id = std::get<0>(rows.back());
  EXPECT_THAT(
      rows,
      ElementsAre(Row("d/a.jsonl:0", "", "no id", kMadeUpId),
                  Row("d/a.jsonl:17", "", "t", kInvalidIdType),
                  Row("c", "", "", kMissingText),
                  Row("d", "", "", kMissingText), Row("e", "", "", kEmptyText),
                  Row("d/a.jsonl:91", "", "", kBrokenRecord | kMadeUpId),
                  Row("d/a.jsonl:111", "", "", kBrokenRecord | kMadeUpId),
                  Row("g", "", "", kInvalidUtf8),
                  Row(replacement, replacement, "", kInvalidUtf8),
                  Row(last_id, "", "last", kMadeUpId)));
  EXPECT_THAT(last_id, HasSubstr("d/a.jsonl:"));
}

TEST_F(DocumentReaderTest, IdsAndDomainsHaveALongestLength) {
  const auto record = [](size_t id, size_t domain) {
    return absl::StrCat(R"({"id":")", std::string(id, 'i'), R"(","domain":")",
                        std::string(domain, 'd'), "\",\"text\":\"t\"}\n");
  };
  const std::string id(kMaxDocumentIdBytes, 'i');
  const std::string domain(kMaxDomainBytes, 'd');
  tree_.Write("a.jsonl", record(kMaxDocumentIdBytes, kMaxDomainBytes) +
                             record(kMaxDocumentIdBytes + 1, kMaxDomainBytes) +
                             record(kMaxDocumentIdBytes, kMaxDomainBytes + 1));
  const std::string second = absl::StrCat(
      "a.jsonl:", record(kMaxDocumentIdBytes, kMaxDomainBytes).size());
  EXPECT_THAT(Rows(), ElementsAre(Row(id, domain, "t", 0),
                                  Row(second, domain, "t", kInvalidIdType),
                                  Row(id, "", "", kUnknownDomain)));
}

TEST_F(DocumentReaderTest, LinesAboveTheLimitAreSkippedToTheirEnd) {
  const std::string fits = R"({"id":"a","text":"12345"})";
  const std::string longer = R"({"id":"b","text":"123456"})";
  const std::string huge =
      R"({"id":"c","text":")" + std::string(2'000'000, 'x') + "\"}";
  tree_.Write("a.jsonl", fits + "\n" + longer + "\n" + huge + "\n" + fits);
  InputOptions options = tree_.Options();
  options.max_document_bytes = static_cast<int64_t>(fits.size());
  EXPECT_THAT(Rows(options),
              ElementsAre(Row("a", "", "12345", 0),
                          Row("a.jsonl:26", "", "", kTooLarge | kMadeUpId),
                          Row("a.jsonl:53", "", "", kTooLarge | kMadeUpId),
                          Row("a", "", "12345", 0)));
}

TEST_F(DocumentReaderTest, TextFilesAreDocuments) {
  tree_.Write("top.txt", "top");
  tree_.Write("web/a.txt", "\xEF\xBB\xBFwith mark\r\n");
  tree_.Write("web/deep/b.md", "b");
  tree_.Write("web/empty.txt", "");
  tree_.Write("web/latin1.txt", "gr\xFC\xDF");
  tree_.Write("web/packed.txt.gz", GzipOf("packed"));
  tree_.Write("web/torn.txt.zst", ZstdOf("torn").substr(0, 10));
  EXPECT_THAT(Rows(),
              ElementsAre(Row("top.txt", "", "top", 0),
                          Row("web/a.txt", "web", "with mark\r\n", 0),
                          Row("web/deep/b.md", "web", "b", 0),
                          Row("web/empty.txt", "web", "", kEmptyText),
                          Row("web/latin1.txt", "web", "", kInvalidUtf8),
                          Row("web/packed.txt.gz", "web", "packed", 0),
                          Row("web/torn.txt.zst", "web", "", kBrokenRecord)));
}

TEST_F(DocumentReaderTest, TextFilesAboveTheLimitAreRows) {
  tree_.Write("a.txt", std::string(100'000, 'a'));
  tree_.Write("b.txt", std::string(100'001, 'b'));
  tree_.Write("c.txt.zst", ZstdOf(std::string(10'000'000, 'c')));
  InputOptions options = tree_.Options();
  options.max_document_bytes = 100'000;
  EXPECT_THAT(Rows(options),
              ElementsAre(Row("a.txt", "", std::string(100'000, 'a'), 0),
                          Row("b.txt", "", "", kTooLarge),
                          Row("c.txt.zst", "", "", kTooLarge)));
}

TEST_F(DocumentReaderTest, TheDomainOfATextFileIsTheFirstFolderBelowItsPath) {
  for (const char* name : {"a/b/c/1.txt", "a/b/2.txt", "a/3.txt", "4.txt"}) {
    tree_.Write(name, "x");
  }
  InputOptions options = tree_.Options();
  // Of 4.txt, a/3.txt, a/b/2.txt, a/b/c/1.txt.
  const auto expect = [&](std::vector<std::string> paths,
                          std::vector<std::string> domains) {
    options.paths = std::move(paths);
    std::vector<std::string> found;
    for (const Document& document : ReadAll(options)) {
      found.push_back(document.domain);
    }
    EXPECT_EQ(found, domains);
  };
  expect({}, {"", "a", "a", "a"});
  expect({"./"}, {"", "a", "a", "a"});
  expect({"a"}, {"a", "b", "b"});
  expect({"a/b/"}, {"b", "c"});
  expect({"a", "a/b/c"}, {"a", "b", "c"});
  expect({"4.txt", "a/3.txt", "a/b/2.txt"}, {"", "a", "b"});
  options.domain = "one";
  expect({}, {"one", "one", "one", "one"});
}

TEST_F(DocumentReaderTest, ReadsPackedLinesOfAllMembers) {
  tree_.Write("a.jsonl.gz", GzipOf("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,") +
                                GzipOf("\"text\":\"b\"}\n"));
  tree_.Write("b.jsonl.zst", ZstdOf("{\"id\":3,\"text\":\"c\"}\n") +
                                 ZstdOf("{\"text\":\"d\"}"));
  EXPECT_THAT(Rows(), ElementsAre(Row("1", "", "a", 0), Row("2", "", "b", 0),
                                  Row("3", "", "c", 0),
                                  Row("b.jsonl.zst:20", "", "d", kMadeUpId)));
}

TEST_F(DocumentReaderTest, ABombIsOneRow) {
  tree_.Write("a.jsonl.zst", ZstdOf(std::string(64 << 20, ' ') + "\n" +
                                    R"({"id":1,"text":"after"})"));
  InputOptions options = tree_.Options();
  options.max_document_bytes = 1000;
  EXPECT_THAT(Rows(options),
              ElementsAre(Row("a.jsonl.zst:0", "", "", kTooLarge | kMadeUpId),
                          Row("1", "", "after", 0)));
}

class BrokenFileTest : public DocumentReaderTest {
 protected:
  // Rows of a file that holds `lines` and then breaks.
  std::vector<Row> RowsOfBroken(const std::string& lines) const {
    tree_.Write("a.jsonl.gz", GzipOf(lines) + "no member");
    return Rows();
  }
};

TEST_F(BrokenFileTest, TheBreakIsARowAfterTheWholeLines) {
  const std::string line = "{\"id\":1,\"text\":\"a\"}\n";
  const Row row("1", "", "a", 0);
  EXPECT_THAT(
      RowsOfBroken(line + line),
      ElementsAre(row, row,
                  Row("a.jsonl.gz:40", "", "", kBrokenRecord | kMadeUpId)));
  // A line that the break cuts is that row, even if it could be read.
  EXPECT_THAT(RowsOfBroken(line + "{\"id\":2,\"text\":\"b\"}"),
              ElementsAre(row, Row("a.jsonl.gz:20", "", "",
                                   kBrokenRecord | kMadeUpId)));
  EXPECT_THAT(RowsOfBroken(""), ElementsAre(Row("a.jsonl.gz:0", "", "",
                                                kBrokenRecord | kMadeUpId)));
}

TEST_F(BrokenFileTest, AFileThatIsCutShortGivesItsLinesSoFar) {
  std::string lines;
  uint32_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    state = state * 1664525u + 1013904223u;
    absl::StrAppend(&lines, "{\"id\":", i, ",\"text\":\"", state, "\"}\n");
  }
  for (const auto& [name, packed] : {std::pair("a.jsonl.gz", GzipOf(lines)),
                                     std::pair("a.jsonl.zst", ZstdOf(lines))}) {
    SCOPED_TRACE(name);
    tree_.Write(name, packed.substr(0, packed.size() * 9 / 10));
    InputOptions options = tree_.Options();
    options.paths = {name};
    const std::vector<Document> documents = ReadAll(options);
    ASSERT_GT(documents.size(), 10'000u);
    ASSERT_LT(documents.size(), 20'000u);
    for (size_t i = 0; i + 1 < documents.size(); ++i) {
      ASSERT_EQ(documents[i].id, std::to_string(i));
      ASSERT_EQ(documents[i].flags, 0u);
    }
    EXPECT_EQ(documents.back().flags, kBrokenRecord | kMadeUpId);
  }
}

// Neither rows nor made-up ids depend on where a file is cut.
TEST_F(DocumentReaderTest, AnyShardSizeGivesTheSameDocuments) {
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    if (i % 3 != 0) {
      absl::StrAppend(&lines, "{\"id\":", i, ",\"text\":\"",
                      std::string(static_cast<size_t>(i), 'x'), "\"}\n");
    }
    if (i % 5 == 0) absl::StrAppend(&lines, "\r\n{broken\n{\"text\":\"a\"}\n");
  }
  tree_.Write("a.jsonl", lines);
  tree_.Write("b.jsonl", lines + "{\"text\":\"no newline\"}");
  const std::vector<Row> expected = Rows();
  EXPECT_EQ(expected.size(), 2u * (26 + 2 * 8) + 1);
  InputOptions options = tree_.Options();
  for (options.shard_bytes = 1; options.shard_bytes < 200;
       ++options.shard_bytes) {
    ASSERT_EQ(Rows(options), expected) << options.shard_bytes;
  }
}

// Lines of any bytes, whole and torn: one row each, whatever the cuts and the
// packing are, and nothing that can't be written as UTF-8.
TEST_F(DocumentReaderTest, TotalsAddUpForAnyBytes) {
  const std::vector<std::string> parts = {"{",
                                          "}",
                                          "\"id\":",
                                          "\"text\":",
                                          "\"a\"",
                                          "\"\\ud83d\"",
                                          "\"b\xff\"",
                                          ",",
                                          "17",
                                          "[",
                                          "]",
                                          "null",
                                          "1e999",
                                          "\\",
                                          "\"domain\":",
                                          "\xEF\xBB\xBF",
                                          std::string(1, '\0'),
                                          "{\"id\":1,\"text\":\"c\"}"};
  std::mt19937 random(20261126);
  std::string lines;
  size_t num_lines = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string line;
    while (random() % 8 != 0) line += parts[random() % parts.size()];
    const bool is_blank = line.empty() || line == "\xEF\xBB\xBF";
    if (!is_blank) ++num_lines;
    lines += line + (i % 2 == 0 ? "\n" : "\r\n");
  }
  tree_.Write("a.jsonl", lines);
  tree_.Write("b.jsonl.gz", GzipOf(lines));
  tree_.Write("c.jsonl.zst", ZstdOf(lines));
  const auto rows = [&](const std::string& name, int64_t shard_bytes) {
    InputOptions options = tree_.Options();
    options.paths = {name};
    options.shard_bytes = shard_bytes;
    std::vector<Document> documents = ReadAll(options);
    for (Document& document : documents) {
      EXPECT_TRUE(IsValidUtf8(document.id + document.domain + document.text));
      if (document.id.compare(0, name.size(), name) == 0) {
        document.id.erase(0, name.size());
      }
    }
    return RowsOf(documents);
  };
  const std::vector<Row> expected = rows("a.jsonl", 1 << 20);
  EXPECT_EQ(expected.size(), num_lines);
  EXPECT_EQ(rows("a.jsonl", 100), expected);
  EXPECT_EQ(rows("b.jsonl.gz", 1 << 20), expected);
  EXPECT_EQ(rows("c.jsonl.zst", 1 << 20), expected);
}

TEST_F(DocumentReaderTest, RefusesShardsThatNobodyPlanned) {
  tree_.Write("a.txt", "text");
  const auto expect = [&](ShardPiece piece) {
    const InputShard shard = {0, {std::move(piece)}};
    EXPECT_EQ(DocumentReader::Open(tree_.Options(), shard).status().code(),
              absl::StatusCode::kInvalidArgument);
  };
  expect({"../a.txt", 0, 4, ""});
  expect({"/etc/passwd", 0, 4, ""});
  expect({"a.txt", -1, 4, ""});
  expect({"a.txt", 5, 4, ""});
  expect({"a.parquet", 0, 4, ""});
  const InputShard wrong_hash = {0, {{"a.txt", 0, 4, "00"}}};
  EXPECT_EQ(ReadShard(tree_.Options(), wrong_hash).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_THAT(*ReadShard(tree_.Options(), InputShard()), IsEmpty());
}

}  // namespace
}  // namespace headwise
