#include "server/selection/input_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/input_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string HashOf(absl::string_view bytes) {
  return Sha256Hex(
      Sha256Of({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}));
}

class InputFilesTest : public testing::Test {
 protected:
  // One string for each shard: "a[0,5) b[0,3)".
  static std::vector<std::string> Shards(const InputOptions& options) {
    const auto shards =
        PlanShards(options, [](int64_t, int64_t) { return true; });
    EXPECT_TRUE(shards.ok()) << shards.status();
    std::vector<std::string> texts;
    if (!shards.ok()) return texts;
    for (const InputShard& shard : *shards) {
      EXPECT_EQ(shard.index, static_cast<int64_t>(texts.size()));
      std::string text;
      for (const ShardPiece& piece : shard.pieces) {
        absl::StrAppend(&text, text.empty() ? "" : " ", piece.file, "[",
                        piece.begin, ",", piece.end, ")");
      }
      texts.push_back(text);
    }
    return texts;
  }
  void ExpectError(const InputOptions& options, absl::StatusCode code,
                   const std::string& message) const {
    const absl::Status status = tree_.Plan(options).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  void ExpectError(absl::StatusCode code, const std::string& message) const {
    ExpectError(tree_.Options(), code, message);
  }

  const InputTree tree_;
};

TEST_F(InputFilesTest, GoesThroughFilesInByteOrderOfTheirNames) {
  for (const char* name : {"b.txt", "a/z.txt", "a.txt", "B.txt", "a/b/c.md",
                           "\xC3\xBC.txt", "a-b.txt"}) {
    tree_.Write(name, "x");
  }
  tree_.Write(".hidden.txt", "x");
  tree_.Write(".git/config", "x");
  EXPECT_THAT(Shards(tree_.Options()),
              ElementsAre("B.txt[0,1) a-b.txt[0,1) a.txt[0,1) a/b/c.md[0,1) "
                          "a/z.txt[0,1) b.txt[0,1) \xC3\xBC.txt[0,1)"));
}

TEST_F(InputFilesTest, PathsChooseAndNothingComesTwice) {
  for (const char* name : {"a/1.txt", "a/2.txt", "b/1.txt", "c.txt", ".d/e"}) {
    tree_.Write(name, "x");
  }
  InputOptions options = tree_.Options();
  options.paths = {"c.txt", "a/2.txt", "a/", "a", ".d"};
  EXPECT_THAT(Shards(options), ElementsAre(".d/e[0,1) a/1.txt[0,1) "
                                           "a/2.txt[0,1) c.txt[0,1)"));
  options.paths = {"."};
  EXPECT_THAT(Shards(options), ElementsAre("a/1.txt[0,1) a/2.txt[0,1) "
                                           "b/1.txt[0,1) c.txt[0,1)"));
}

TEST_F(InputFilesTest, LinesAreCutAtTheFirstLineEndAfterShardBytes) {
  //                      0     6   10            24 26
  tree_.Write("a.jsonl", "aaaaa\nbbb\nccccccccccccc\nd\nee");
  InputOptions options = tree_.Options();
  const auto expect = [&](int64_t shard_bytes,
                          const std::vector<std::string>& shards) {
    options.shard_bytes = shard_bytes;
    EXPECT_EQ(Shards(options), shards) << shard_bytes;
  };
  expect(5, {"a.jsonl[0,6)", "a.jsonl[6,24)", "a.jsonl[24,28)"});
  expect(6, {"a.jsonl[0,6)", "a.jsonl[6,24)", "a.jsonl[24,28)"});
  expect(7, {"a.jsonl[0,10)", "a.jsonl[10,24)", "a.jsonl[24,28)"});
  expect(10, {"a.jsonl[0,10)", "a.jsonl[10,24)", "a.jsonl[24,28)"});
  expect(11, {"a.jsonl[0,24)", "a.jsonl[24,28)"});
  expect(28, {"a.jsonl[0,28)"});
}

TEST_F(InputFilesTest, SmallFilesShareShardsAndPackedOnesDoNot) {
  tree_.Write("a.jsonl", "12345\n");
  tree_.Write("b.txt", "1234");
  tree_.Write("c.txt", "");
  tree_.Write("d.txt", "1");
  tree_.Write("e.jsonl.gz", GzipOf(""));
  tree_.Write("f.jsonl", "");
  tree_.Write("g.jsonl.zst", "");
  tree_.Write("h.txt", "123456789012");
  tree_.Write("i.txt", "1");
  InputOptions options = tree_.Options();
  options.shard_bytes = 10;
  EXPECT_THAT(Shards(options),
              ElementsAre("a.jsonl[0,6) b.txt[0,4) c.txt[0,0)", "d.txt[0,1)",
                          "e.jsonl.gz[0,20)", "h.txt[0,12)", "i.txt[0,1)"));
}

TEST_F(InputFilesTest, AShardHasABoundedNumberOfPieces) {
  for (int i = 0; i < 1030; ++i) tree_.Write(absl::StrCat(1000 + i), "");
  const auto shards = tree_.Plan();
  ASSERT_TRUE(shards.ok()) << shards.status();
  ASSERT_EQ(shards->size(), 2u);
  EXPECT_EQ((*shards)[0].pieces.size(), 1024u);
  EXPECT_EQ((*shards)[1].pieces.size(), 6u);
}

TEST_F(InputFilesTest, HashesAreThoseOfTheRanges) {
  std::string lines;
  while (lines.size() < 3'000'000) absl::StrAppend(&lines, lines.size(), "\n");
  tree_.Write("a.jsonl", lines);
  tree_.Write("b.txt", "hello");
  tree_.Write("c.txt", "");
  InputOptions options = tree_.Options();
  options.shard_bytes = 1'300'000;  // more than one read each
  const auto shards = tree_.Plan(options);
  ASSERT_TRUE(shards.ok()) << shards.status();
  int64_t end = 0;
  for (const InputShard& shard : *shards) {
    for (const ShardPiece& piece : shard.pieces) {
      if (piece.file != "a.jsonl") continue;
      EXPECT_EQ(piece.begin, end);
      end = piece.end;
      EXPECT_EQ(piece.sha256,
                HashOf(absl::string_view(lines).substr(
                    static_cast<size_t>(piece.begin),
                    static_cast<size_t>(piece.end - piece.begin))));
    }
  }
  EXPECT_EQ(end, static_cast<int64_t>(lines.size()));
  const auto& last = shards->back().pieces;
  ASSERT_GE(last.size(), 2u);
  EXPECT_EQ(last[last.size() - 2].sha256, HashOf("hello"));
  EXPECT_EQ(last.back().sha256, HashOf(""));
}

TEST_F(InputFilesTest, TellsProgressUpToTheEndAndCanBeCancelled) {
  tree_.Write("a.txt", std::string(5'000'000, 'a'));
  tree_.Write("b.txt", std::string(100, 'b'));
  int64_t last = -1;
  int64_t total = -1;
  int num_calls = 0;
  const auto progress = [&](int64_t bytes, int64_t of_bytes) {
    EXPECT_GE(bytes, last);
    last = bytes;
    total = of_bytes;
    ++num_calls;
    return true;
  };
  ASSERT_TRUE(PlanShards(tree_.Options(), progress).ok());
  EXPECT_EQ(last, 5'000'100);
  EXPECT_EQ(total, 5'000'100);
  // Whichever call it is that says no.
  for (int refused = 1; refused <= num_calls; ++refused) {
    int calls = 0;
    const auto status = PlanShards(tree_.Options(), [&](int64_t, int64_t) {
                          return ++calls < refused;
                        }).status();
    if (calls < refused) continue;  // threads share the calls otherwise
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << refused;
  }
}

TEST_F(InputFilesTest, NothingToReadIsAnError) {
  ExpectError(absl::StatusCode::kNotFound, "no document");
  tree_.Write("empty/a.jsonl", "");
  ExpectError(absl::StatusCode::kNotFound, "no document");
}

TEST_F(InputFilesTest, ErrorsNameThePathThatIsNotThere) {
  tree_.Write("a.txt", "x");
  InputOptions options = tree_.Options();
  options.paths = {"a.txt", "none"};
  ExpectError(options, absl::StatusCode::kNotFound, "\"none\"");
  options.paths = {"../x"};
  ExpectError(options, absl::StatusCode::kInvalidArgument, "\"../x\"");
  options.paths = {};
  options.shard_bytes = -1;
  ExpectError(options, absl::StatusCode::kInvalidArgument, "shard_bytes is -1");
}

TEST_F(InputFilesTest, RefusesNamesThatRowsCannotHold) {
  tree_.Write("web/a\nb.txt", "x");
  ExpectError(absl::StatusCode::kInvalidArgument, "\"web/a\\nb.txt\"");
  std::filesystem::remove(tree_.path("web/a\nb.txt"));
  tree_.Write("web/a\xff.txt", "x");
  ExpectError(absl::StatusCode::kInvalidArgument, "\"web/a\\xff.txt\"");
}

TEST_F(InputFilesTest, RefusesFormatsThatAreNotRead) {
  tree_.Write("web/a.parquet", "PAR1");
  ExpectError(absl::StatusCode::kInvalidArgument, "\"web/a.parquet\"");
}

TEST_F(InputFilesTest, LinksToFilesAreReadAndOthersRefused) {
  const InputTree outside;
  outside.Write("secret.txt", "x");
  tree_.Write("a/b.txt", "x");
  tree_.Link("c.txt", "a/b.txt");
  EXPECT_THAT(Shards(tree_.Options()), ElementsAre("a/b.txt[0,1) c.txt[0,1)"));
  tree_.Link("d.txt", outside.path("secret.txt"));
  ExpectError(absl::StatusCode::kPermissionDenied, "\"d.txt\"");
  std::filesystem::remove(tree_.path("d.txt"));
  tree_.Link("a/circle", "../a");
  ExpectError(absl::StatusCode::kInvalidArgument, "\"a/circle\"");
  std::filesystem::remove(tree_.path("a/circle"));
  tree_.Link("dangling", "nothing");
  ExpectError(absl::StatusCode::kNotFound, "\"dangling\"");
}

// Root may read everything, so as somebody else where it runs the test.
class AsNobody {
 public:
  AsNobody() { EXPECT_TRUE(!is_root_ || seteuid(65534) == 0); }
  ~AsNobody() { EXPECT_TRUE(!is_root_ || seteuid(0) == 0); }

 private:
  const bool is_root_ = geteuid() == 0;
};

TEST_F(InputFilesTest, WhatMayNotBeReadIsAnErrorByName) {
  tree_.Write("a/b.txt", "x");
  tree_.Write("c/d.txt", "x");
  chmod(tree_.root().c_str(), 0755);
  chmod(tree_.path("a/b.txt").c_str(), 0);
  {
    const AsNobody as_nobody;
    ExpectError(absl::StatusCode::kPermissionDenied, "\"a/b.txt\"");
  }
  chmod(tree_.path("a/b.txt").c_str(), 0644);
  chmod(tree_.path("c").c_str(), 0);
  {
    const AsNobody as_nobody;
    ExpectError(absl::StatusCode::kPermissionDenied, "\"c\"");
  }
  chmod(tree_.path("c").c_str(), 0755);
}

// Writers that go on while the job is planned.
class ChangingInputTest : public InputFilesTest {
 protected:
  // `change` comes when the walk has seen the file's size, before it is read.
  template <typename Change>
  absl::Status PlanWhile(const std::string& name, const Change& change) {
    tree_.Write("folder/z.txt", "z");
    InputOptions options = tree_.Options();
    options.paths = {name, "folder"};
    bool is_changed = false;
    const auto progress = [&](int64_t, int64_t) {
      if (!std::exchange(is_changed, true)) change();
      return true;
    };
    const absl::Status status = PlanShards(options, progress).status();
    EXPECT_TRUE(is_changed);
    return status;
  }
  void ExpectAborted(const absl::Status& status, const std::string& name) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + name + "\""));
  }
  void Append(const std::string& name, const std::string& text) const {
    std::ofstream(tree_.path(name), std::ios::app) << text;
  }
};

TEST_F(ChangingInputTest, AFileThatShrinksIsNamed) {
  tree_.Write("a.txt", std::string(3'000'000, 'a'));
  const auto shrink = [&] {
    std::filesystem::resize_file(tree_.path("a.txt"), 1'500'000);
  };
  ExpectAborted(PlanWhile("a.txt", shrink), "a.txt");
}

TEST_F(ChangingInputTest, LinesMayBeAppendedButNotToTheLastOne) {
  tree_.Write("a.jsonl", "{}\n{}\n");
  EXPECT_TRUE(PlanWhile("a.jsonl", [&] { Append("a.jsonl", "{}\n"); }).ok());
  tree_.Write("b.jsonl", "{}\n{\"te");
  ExpectAborted(PlanWhile("b.jsonl", [&] { Append("b.jsonl", "xt\":1}\n"); }),
                "b.jsonl");
}

TEST_F(ChangingInputTest, FilesThatAreReadWholeMayNotGrow) {
  tree_.Write("a.txt", "line\n");
  ExpectAborted(PlanWhile("a.txt", [&] { Append("a.txt", "line\n"); }),
                "a.txt");
}

}  // namespace
}  // namespace headwise
