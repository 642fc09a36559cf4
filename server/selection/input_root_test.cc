#include "server/selection/input_root.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/input_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

class InputRootTest : public testing::Test {
 protected:
  InputRoot Open() const {
    auto root = InputRoot::Open(tree_.root());
    EXPECT_TRUE(root.ok()) << root.status();
    return *std::move(root);
  }
  static std::string Read(const InputRoot& root, const std::string& name) {
    const auto file = root.OpenFile(name);
    EXPECT_TRUE(file.ok()) << file.status();
    if (!file.ok()) return "";
    std::string text(static_cast<size_t>(file->size()), '\0');
    EXPECT_EQ(*file->ReadAt(0, absl::MakeSpan(text)), text.size());
    return text;
  }
  void ExpectError(const std::string& name, absl::StatusCode code) const {
    const InputRoot root = Open();
    for (const absl::Status& status :
         {root.Find(name).status(), root.OpenFile(name).status(),
          root.List(name).status()}) {
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr(QuotedInputName(name)));
    }
  }

  const InputTree tree_;
  const InputTree outside_;
};

TEST_F(InputRootTest, FindsListsAndReads) {
  tree_.Write("a/b.txt", "hello");
  tree_.Write("a/.hidden", "");
  tree_.Link("a/link", "b.txt");
  const InputRoot root = Open();
  EXPECT_EQ(root.Find(".")->type, InputRoot::EntryType::kFolder);
  EXPECT_EQ(root.Find("a")->type, InputRoot::EntryType::kFolder);
  EXPECT_EQ(root.Find("a/b.txt")->type, InputRoot::EntryType::kFile);
  EXPECT_EQ(root.Find("a/b.txt")->size, 5);

  std::vector<std::pair<std::string, bool>> entries;
  const auto listed = root.List("a");
  ASSERT_TRUE(listed.ok()) << listed.status();
  for (const auto& entry : *listed) {
    entries.emplace_back(entry.name, entry.is_link);
  }
  EXPECT_THAT(entries, UnorderedElementsAre(std::pair("b.txt", false),
                                            std::pair(".hidden", false),
                                            std::pair("link", true)));
  EXPECT_EQ(root.OpenFile("a").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(root.List("a/b.txt").ok());
}

TEST_F(InputRootTest, ReadsAnywhereUpToTheEnd) {
  tree_.Write("f", "0123456789");
  const InputRoot root = Open();
  const auto file = root.OpenFile("f");
  ASSERT_TRUE(file.ok()) << file.status();
  std::string text(4, '\0');
  EXPECT_EQ(*file->ReadAt(3, absl::MakeSpan(text)), 4u);
  EXPECT_EQ(text, "3456");
  EXPECT_EQ(*file->ReadAt(8, absl::MakeSpan(text)), 2u);
  EXPECT_EQ(*file->ReadAt(100, absl::MakeSpan(text)), 0u);
}

TEST_F(InputRootTest, FollowsLinksThatStay) {
  tree_.Write("real/f", "hello");
  tree_.Link("relative", "real/f");
  tree_.Link("absolute", tree_.path("real/f"));
  tree_.Link("folder", "real");
  const InputRoot root = Open();
  EXPECT_EQ(Read(root, "relative"), "hello");
  EXPECT_EQ(Read(root, "absolute"), "hello");
  EXPECT_EQ(Read(root, "folder/f"), "hello");
}

TEST_F(InputRootTest, RefusesLinksThatLeave) {
  outside_.Write("secret", "x");
  tree_.Link("file", outside_.path("secret"));
  tree_.Link("folder", outside_.root());
  tree_.Link("up", "..");
  tree_.Link("device", "/dev/zero");
  for (const char* name : {"file", "folder", "folder/secret", "up", "device"}) {
    ExpectError(name, absl::StatusCode::kPermissionDenied);
  }
}

// A folder beside the root whose name begins with the root's.
TEST_F(InputRootTest, ANeighbourWithALongerNameIsOutside) {
  const std::string neighbour = tree_.root() + "2";
  std::filesystem::create_directory(neighbour);
  tree_.Link("link", neighbour);
  ExpectError("link", absl::StatusCode::kPermissionDenied);
  std::filesystem::remove(neighbour);
}

TEST_F(InputRootTest, RefusesNamesThatAreNotBelow) {
  for (const char* name : {"/etc/passwd", "..", "../x", "a/../../x", "a//b",
                           "./a", "", "a/", "a\nb", "a\xff"}) {
    ExpectError(name, absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(InputRootTest, WhatIsNotThereOrLeadsNowhereIsNotFound) {
  tree_.Link("dangling", "nothing");
  ExpectError("none", absl::StatusCode::kNotFound);
  ExpectError("dangling", absl::StatusCode::kNotFound);
}

// Nobody writes to it: reading would never end.
TEST_F(InputRootTest, AFifoIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(tree_.path("fifo").c_str(), 0600), 0);
  ExpectError("fifo", absl::StatusCode::kInvalidArgument);
}

TEST_F(InputRootTest, TheRootIsNamedAsItIs) {
  tree_.Write("real/f", "");
  tree_.Link("link", "real");
  const auto expect = [](const std::string& root, absl::StatusCode code) {
    const absl::Status status = InputRoot::Open(root).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(QuotedInputName(root)));
  };
  expect(tree_.path("link"), absl::StatusCode::kInvalidArgument);
  expect(tree_.path("real/f"), absl::StatusCode::kInvalidArgument);
  expect("relative", absl::StatusCode::kInvalidArgument);
  expect("", absl::StatusCode::kInvalidArgument);
  expect(tree_.path("none"), absl::StatusCode::kNotFound);
  EXPECT_TRUE(InputRoot::Open("/").ok());
  EXPECT_TRUE(InputRoot::Open("/")->Find("etc").ok());
}

TEST(InputNameTest, QuotedNamesArePrintableUtf8) {
  EXPECT_EQ(QuotedInputName("a b"), "\"a b\"");
  EXPECT_EQ(QuotedInputName("\xC3\xBC\n"), "\"\xC3\xBC\\n\"");
  EXPECT_EQ(QuotedInputName("\xC3"), "\"\\xc3\"");
}

TEST(InputNameTest, LastSlashesGo) {
  EXPECT_EQ(WithoutLastSlash("a/b//"), "a/b");
  EXPECT_EQ(WithoutLastSlash("a"), "a");
  EXPECT_EQ(WithoutLastSlash(""), "");
  EXPECT_EQ(WithoutLastSlash("/"), "/");
}

}  // namespace
}  // namespace headwise
