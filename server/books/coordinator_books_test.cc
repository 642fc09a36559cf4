#include "server/books/coordinator_books.h"

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CoordinatorBooksTest : public testing::Test {
 protected:
  // As a coordinator that starts does.
  std::unique_ptr<CoordinatorBooks> Open(const std::string& model = "m") {
    auto books = CoordinatorBooks::Open(path_, model);
    EXPECT_TRUE(books.ok()) << books.status();
    return books.ok() ? *std::move(books) : nullptr;
  }
  static BookedSession Session(const std::string& id,
                               std::vector<int32_t> tokens) {
    return {.id = id, .tenant = "t", .plan = "", .tokens = std::move(tokens)};
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.Path("books.db");
};

TEST_F(CoordinatorBooksTest, EachStartBeginsAboveTheLast) {
  EXPECT_EQ(Open()->TakeEpochs(1000).value(), 1000u);
  EXPECT_EQ(Open()->TakeEpochs(1001).value(), 1000u + kEpochsPerStart)
      << "whatever the clock says";
  EXPECT_EQ(Open()->TakeEpochs(uint64_t{1} << 40).value(), uint64_t{1} << 40);
}

TEST_F(CoordinatorBooksTest, SessionsComeBackWithAllTheirTokens) {
  {
    const auto books = Open();
    BookedSession a = Session("a", {1, 0, -7});
    a.plan = std::string("\0plan", 5);
    ASSERT_TRUE(books->Append(a, 0).ok());
    ASSERT_TRUE(books->Append(Session("b", {9}), 0).ok());
    ASSERT_TRUE(books->Append(Session("a", {4, 5}), 3).ok());
    ASSERT_TRUE(books->Append(Session("c", {6}), 0).ok());
    ASSERT_TRUE(books->Remove("c").ok());
    ASSERT_TRUE(books->Remove("nobody").ok());
    ASSERT_TRUE(books->Checkpoint().ok());
  }
  std::vector<std::string> lost;
  const auto sessions = Open()->TakeSessions(&lost);
  ASSERT_TRUE(sessions.ok()) << sessions.status();
  ASSERT_EQ(sessions->size(), 2u);
  EXPECT_EQ((*sessions)[0].tenant, "t");
  EXPECT_EQ((*sessions)[0].plan, std::string("\0plan", 5));
  EXPECT_THAT((*sessions)[0].tokens, ElementsAre(1, 0, -7, 4, 5));
  EXPECT_THAT((*sessions)[1].tokens, ElementsAre(9));
}

// It was deleted while it was uploaded to, and the process died then.
TEST_F(CoordinatorBooksTest, ASessionWithAGapIsForgottenAndNamed) {
  const auto books = Open();
  ASSERT_TRUE(books->Append(Session("a", {1}), 0).ok());
  ASSERT_TRUE(books->Append(Session("b", {1}), 5).ok());
  std::vector<std::string> lost;
  EXPECT_EQ(books->TakeSessions(&lost)->size(), 1u);
  EXPECT_THAT(lost, ElementsAre("b"));
  lost.clear();
  EXPECT_EQ(books->TakeSessions(&lost)->size(), 1u);
  EXPECT_THAT(lost, IsEmpty());
}

TEST_F(CoordinatorBooksTest, AnotherModelsBooksAreRefusedWithBothIds) {
  Open("first");
  const absl::Status status = CoordinatorBooks::Open(path_, "second").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(path_ + " is of model first, served is second"));
}

// Of a build that adds something and is then replaced by this one again.
TEST_F(CoordinatorBooksTest, ColumnsAndTablesOfALaterBuildAreIgnored) {
  ASSERT_TRUE(Open()->Append(Session("a", {1, 2}), 0).ok());
  {
    const auto later = SqlDatabase::Open(path_);
    for (const char* sql :
         {"ALTER TABLE sessions ADD COLUMN later TEXT NOT NULL DEFAULT 'x'",
          "ALTER TABLE tokens ADD COLUMN later INTEGER NOT NULL DEFAULT 7",
          "ALTER TABLE about ADD COLUMN later TEXT",
          "CREATE TABLE later (x TEXT)"}) {
      ASSERT_TRUE((*later)->Run(sql).ok()) << sql;
    }
  }
  const auto books = Open();
  ASSERT_NE(books, nullptr);
  ASSERT_TRUE(books->Append(Session("a", {3}), 2).ok());
  ASSERT_TRUE(books->Append(Session("b", {4}), 0).ok());
  EXPECT_TRUE(books->TakeEpochs(1).ok());
  std::vector<std::string> lost;
  const auto sessions = books->TakeSessions(&lost);
  ASSERT_TRUE(sessions.ok()) << sessions.status();
  ASSERT_EQ(sessions->size(), 2u);
  EXPECT_THAT((*sessions)[0].tokens, ElementsAre(1, 2, 3));
}

TEST_F(CoordinatorBooksTest, AFileOfANewerFormatIsRefusedWithBoth) {
  Open();
  {
    const auto later = SqlDatabase::Open(path_);
    ASSERT_TRUE((*later)->Run("PRAGMA user_version = 2").ok());
  }
  const absl::Status status = CoordinatorBooks::Open(path_, "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("has format 2, this build reads 1"));
}

TEST_F(CoordinatorBooksTest, ADamagedFileIsDataLossAndNamed) {
  std::ofstream(path_) << std::string(8192, 'x');
  const absl::Status status = CoordinatorBooks::Open(path_, "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
}

TEST_F(CoordinatorBooksTest, AnotherProgramsDatabaseIsRefused) {
  {
    const auto other = SqlDatabase::Open(path_);
    ASSERT_TRUE((*other)->Run("CREATE TABLE about (x TEXT)").ok());
  }
  const absl::Status status = CoordinatorBooks::Open(path_, "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(path_ + " is a database of another program"));
}

TEST_F(CoordinatorBooksTest, NewBooksAreEmpty) {
  std::vector<std::string> lost;
  EXPECT_THAT(Open()->TakeSessions(&lost).value(), testing::SizeIs(0));
  EXPECT_THAT(lost, IsEmpty());
}

}  // namespace
}  // namespace headwise
