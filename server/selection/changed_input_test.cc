// What a reader does where the input is not the one that was planned.

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/document_reader.h"
#include "server/selection/input_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class ChangedInputTest : public testing::Test {
 protected:
  // The error of reading the only shard after `change`.
  template <typename Change>
  absl::Status ReadAfter(const Change& change) {
    const auto shards = tree_.Plan();
    EXPECT_TRUE(shards.ok()) << shards.status();
    if (!shards.ok()) return shards.status();
    change();
    return ReadShard(tree_.Options(), shards->front()).status();
  }
  static void ExpectChanged(const absl::Status& status,
                            const std::string& name) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("input \"" + name + "\" has changed"));
  }

  const InputTree tree_;
};

TEST_F(ChangedInputTest, OtherBytesAreRefusedAtTheEndAndForEver) {
  tree_.Write("a.jsonl", "{\"id\":1,\"text\":\"a\"}\n");
  const auto shards = tree_.Plan();
  ASSERT_TRUE(shards.ok()) << shards.status();
  tree_.Write("a.jsonl", "{\"id\":1,\"text\":\"b\"}\n");
  const auto reader = DocumentReader::Open(tree_.Options(), shards->front());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((**(*reader)->Next()).text, "b");
  const absl::Status status = (*reader)->Next().status();
  ExpectChanged(status, "a.jsonl");
  EXPECT_EQ((*reader)->Next().status(), status);
}

TEST_F(ChangedInputTest, AFileThatShrinksIsNamed) {
  tree_.Write("a.jsonl", "{\"id\":1,\"text\":\"a\"}\n");
  ExpectChanged(ReadAfter([&] {
                  std::filesystem::resize_file(tree_.path("a.jsonl"), 5);
                }),
                "a.jsonl");
}

TEST_F(ChangedInputTest, FilesThatAreReadWholeMayNotGrow) {
  tree_.Write("b/a.txt", "text");
  ExpectChanged(ReadAfter([&] { tree_.Write("b/a.txt", "text and more"); }),
                "b/a.txt");
  std::filesystem::remove_all(tree_.path("b"));
  const std::string packed = GzipOf("{\"id\":1,\"text\":\"a\"}\n");
  tree_.Write("a.jsonl.gz", packed);
  ExpectChanged(ReadAfter([&] { tree_.Write("a.jsonl.gz", packed + packed); }),
                "a.jsonl.gz");
}

// What is behind the break, or the limit, is hashed all the same.
TEST_F(ChangedInputTest, ChangesWhereNothingIsReadAreFound) {
  const std::string packed = GzipOf("{\"id\":1,\"text\":\"a\"}\n") + "garbage";
  tree_.Write("a.jsonl.gz", packed + std::string(1'000'000, 'x'));
  ExpectChanged(ReadAfter([&] {
                  tree_.Write("a.jsonl.gz",
                              packed + std::string(999'999, 'x') + "y");
                }),
                "a.jsonl.gz");
  std::filesystem::remove(tree_.path("a.jsonl.gz"));
  const std::string large((17 << 20) - 1, 'x');
  tree_.Write("a.txt", large + "x");
  ExpectChanged(ReadAfter([&] { tree_.Write("a.txt", large + "y"); }), "a.txt");
}

TEST_F(ChangedInputTest, AFileThatIsGoneOrLeadsOutIsNamed) {
  const InputTree outside;
  outside.Write("a.txt", "text");
  tree_.Write("a.txt", "text");
  const absl::Status gone =
      ReadAfter([&] { std::filesystem::remove(tree_.path("a.txt")); });
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("\"a.txt\""));
  tree_.Write("a.txt", "text");
  const absl::Status led = ReadAfter([&] {
    std::filesystem::remove(tree_.path("a.txt"));
    tree_.Link("a.txt", outside.path("a.txt"));
  });
  EXPECT_EQ(led.code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace headwise
