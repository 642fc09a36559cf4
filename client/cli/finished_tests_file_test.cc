#include "client/cli/finished_tests_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class FinishedTestsFileTest : public testing::Test {
 protected:
  FinishedTestsFileTest() {
    std::string pattern = testing::TempDir() + "/state-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/state.jsonl";
  }
  ~FinishedTestsFileTest() override { std::filesystem::remove_all(folder_); }

  static v1::FinishedTest Test(const std::string& id) {
    v1::FinishedTest test;
    test.set_id(id);
    test.add_values(1.0 / 3);
    test.add_values(-1e-30);
    test.set_rows(7);
    test.set_rows_without_reuse(70);
    return test;
  }
  void WriteTwo() const {
    FinishedTestsFile state = *FinishedTestsFile::Open(path_);
    ASSERT_TRUE(state.Begin(R"({"a":1})").ok());
    ASSERT_TRUE(state.Add(Test("x/0")).ok());
    ASSERT_TRUE(state.Add(Test("x/1")).ok());
  }
  std::string Bytes() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void SetBytes(const std::string& bytes) const {
    std::ofstream(path_) << bytes;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(FinishedTestsFileTest, NoFileMeansNoEarlierRun) {
  const FinishedTestsFile state = *FinishedTestsFile::Open(path_);
  EXPECT_EQ(state.finished().manifest(), "");
  EXPECT_EQ(state.finished().tests_size(), 0);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(FinishedTestsFileTest, WhatWasAddedIsReadBackToTheBit) {
  WriteTwo();
  const FinishedTestsFile state = *FinishedTestsFile::Open(path_);
  EXPECT_EQ(state.finished().manifest(), R"({"a":1})");
  ASSERT_EQ(state.finished().tests_size(), 2);
  EXPECT_EQ(state.finished().tests(1).SerializeAsString(),
            Test("x/1").SerializeAsString());
}

// Killed while it wrote, at any byte: whole lines are kept, the torn one is
// dropped, and the run goes on in the same file.
TEST_F(FinishedTestsFileTest, ATornLastLineIsDropped) {
  WriteTwo();
  const std::string whole = Bytes();
  const size_t second_line = whole.find('\n') + 1;
  const size_t third_line = whole.find('\n', second_line) + 1;
  for (size_t size = 0; size <= whole.size(); ++size) {
    SCOPED_TRACE(size);
    SetBytes(whole.substr(0, size));
    auto state = FinishedTestsFile::Open(path_);
    ASSERT_TRUE(state.ok()) << state.status();
    const int kept = size >= whole.size() ? 2 : size >= third_line ? 1 : 0;
    EXPECT_EQ(state->finished().tests_size(), kept);
    ASSERT_TRUE(state->Begin(R"({"a":1})").ok());
    for (int i = kept; i < 2; ++i) {
      ASSERT_TRUE(state->Add(Test("x/" + std::to_string(i))).ok());
    }
    EXPECT_EQ(Bytes(), whole);
  }
}

TEST_F(FinishedTestsFileTest, WhatIsNotAStateIsRefusedByItsLine) {
  WriteTwo();
  const std::string whole = Bytes();
  const auto refusal = [&](const std::string& bytes) {
    SetBytes(bytes);
    return std::string(FinishedTestsFile::Open(path_).status().message());
  };
  EXPECT_THAT(refusal("hello\n"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("{}\n"), HasSubstr("line 1: not the head"));
  EXPECT_THAT(refusal(whole + "{}\n"), HasSubstr("line 4: must have id"));
  EXPECT_THAT(refusal(whole + "nonsense\n" + whole), HasSubstr("line 4"));
  std::string changed = whole;
  changed.replace(changed.find("\\\"a\\\":1"), 7, "\\\"a\\\":2");
  EXPECT_THAT(refusal(changed), HasSubstr("line 1"));
}

TEST_F(FinishedTestsFileTest, AFileThatCannotBeWrittenIsNamed) {
  FinishedTestsFile state =
      *FinishedTestsFile::Open(folder_ + "/missing/state.jsonl");
  EXPECT_THAT(std::string(state.Begin("{}").message()),
              HasSubstr("/missing/state.jsonl"));
}

}  // namespace
}  // namespace headwise
