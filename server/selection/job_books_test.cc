#include "server/selection/job_books.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "server/selection/owner_lock.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;

class JobBooksTest : public RowFilesTest {
 protected:
  std::unique_ptr<JobBooks> Open(const std::string& owner) {
    auto books = JobBooks::Open({.path = path("books.sqlite"),
                                 .owner = owner,
                                 .lease = absl::Seconds(15)},
                                clock_);
    EXPECT_TRUE(books.ok()) << books.status();
    return *std::move(books);
  }
  static JobEntry Entry(char digit) {
    JobEntry entry;
    entry.id = std::string(64, digit);
    entry.head = "{}";
    entry.output = "out";
    entry.num_shards = 3;
    entry.input_bytes = 300;
    return entry;
  }
  // Of a web row that is ranked and a math row that is too short.
  static PartEntry Part(int64_t shard) {
    PartEntry part;
    part.shard = shard;
    part.file = {.num_rows = 2, .num_bytes = 50, .sha256 = "s"};
    part.input_bytes = 100;
    part.totals.Add(RowOf("a", "web", 0.5), 1.5);
    ScoreRow row = RowOf("b", "math", 0.5, 10);
    row.flags = kTooShort;
    part.totals.Add(row, 0.5);
    return part;
  }
  static DomainSketches Sketch() {
    DomainSketches sketches;
    sketches["web"].Add(0.5);
    return sketches;
  }

  FakeClock clock_;
};

TEST_F(JobBooksTest, AJobIsEnteredOnceAndFoundByItsFirstDigits) {
  const auto books = Open("me");
  const JobEntry job = *books->Add(Entry('a'), 2);
  EXPECT_EQ(books->Add(Entry('a'), 2)->number, job.number);
  const JobEntry other = *books->Add(Entry('b'), 2);
  EXPECT_GT(other.number, job.number);
  EXPECT_TRUE(absl::IsResourceExhausted(books->Add(Entry('c'), 2).status()));
  EXPECT_EQ(books->Add(Entry('b'), 2)->number, other.number);

  EXPECT_EQ(books->Find("aaaaaaaa")->number, job.number);
  EXPECT_TRUE(absl::IsNotFound(books->Find("cccccccc").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(books->Find("aaaaaaa").status()));
  JobEntry twin = Entry('a');
  twin.id[63] = 'b';
  ASSERT_TRUE(books->Add(twin, 9).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(books->Find("aaaaaaaa").status()));
  EXPECT_EQ(books->Find(twin.id)->id, twin.id);
  EXPECT_EQ(books->List()->size(), 3u);
}

TEST_F(JobBooksTest, FullBooksForgetTheOldestJobThatHasEnded) {
  const auto books = Open("me");
  const int64_t runs = books->Add(Entry('a'), 3)->number;
  const int64_t done = books->Add(Entry('b'), 3)->number;
  const int64_t cancelled = books->Add(Entry('c'), 3)->number;
  ASSERT_EQ(*books->Lease(done, 0), LeaseAnswer::kTaken);
  ASSERT_TRUE(*books->Commit(done, Part(0), Sketch()));
  ASSERT_TRUE(
      *books->Move(done, {JobState::kRunning}, JobState::kFinishing, ""));
  ASSERT_TRUE(*books->Finish(done, "hash"));
  ASSERT_TRUE(
      *books->Move(cancelled, {JobState::kRunning}, JobState::kCancelled, ""));

  const int64_t next = books->Add(Entry('d'), 3)->number;
  EXPECT_TRUE(absl::IsNotFound(books->Find("bbbbbbbb").status()));
  EXPECT_TRUE(books->Domains(done)->empty());
  EXPECT_TRUE(books->Flags(done)->empty());
  EXPECT_TRUE(books->Sketches(done)->empty());
  ASSERT_TRUE(books->Add(Entry('e'), 3).ok());
  EXPECT_TRUE(absl::IsNotFound(books->Find("cccccccc").status()));
  EXPECT_EQ(books->Find("aaaaaaaa")->number, runs);
  EXPECT_EQ(books->Find("dddddddd")->number, next);
  EXPECT_TRUE(absl::IsResourceExhausted(books->Add(Entry('f'), 3).status()));
  // What is asked for again is another entry, with nothing of the first.
  ASSERT_TRUE(*books->Move(next, {JobState::kRunning}, JobState::kDone, ""));
  const JobEntry again = *books->Add(Entry('b'), 3);
  EXPECT_GT(again.number, next);
  EXPECT_EQ(again.num_shards_done, 0);
}

TEST_F(JobBooksTest, StatesMoveFromThoseThatAreNamed) {
  const auto books = Open("me");
  const int64_t job = books->Add(Entry('a'), 9)->number;
  EXPECT_TRUE(
      *books->Move(job, {JobState::kRunning}, JobState::kPaused, "why"));
  EXPECT_EQ(books->Find("aaaaaaaa")->reason, "why");
  EXPECT_FALSE(*books->Move(job, {JobState::kRunning, JobState::kFinishing},
                            JobState::kDone, ""));
  EXPECT_EQ(books->Find("aaaaaaaa")->state, JobState::kPaused);
  EXPECT_FALSE(*books->Finish(job, "hash"));
  EXPECT_TRUE(*books->Move(job, {JobState::kPaused}, JobState::kFinishing, ""));
  EXPECT_TRUE(*books->Finish(job, "hash"));
  EXPECT_EQ(books->Find("aaaaaaaa")->result_sha256, "hash");
}

TEST_F(JobBooksTest, ALeaseHoldsUntilNobodyRenewsIt) {
  const auto mine = Open("me");
  const auto other = Open("you");
  const int64_t job = mine->Add(Entry('a'), 9)->number;
  EXPECT_EQ(*mine->Lease(job, 0), LeaseAnswer::kTaken);
  EXPECT_EQ(*mine->Lease(job, 0), LeaseAnswer::kTaken);
  EXPECT_EQ(*other->Lease(job, 0), LeaseAnswer::kHeldByOther);
  EXPECT_EQ(*other->Lease(job, 1), LeaseAnswer::kTaken);
  EXPECT_THAT(*mine->LiveOwners(job), ElementsAre("me", "you"));

  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(*mine->Renew(job, 10.0), JobState::kRunning);
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(*other->Lease(job, 0), LeaseAnswer::kHeldByOther);
  EXPECT_EQ(*mine->Lease(job, 1), LeaseAnswer::kTaken);
  EXPECT_DOUBLE_EQ(mine->Find("aaaaaaaa")->running_seconds, 10.0);

  // Who lost a lease can't commit; who holds it can, once.
  EXPECT_FALSE(*other->Commit(job, Part(1), Sketch()));
  EXPECT_TRUE(*mine->Commit(job, Part(1), Sketch()));
  EXPECT_FALSE(*mine->Commit(job, Part(1), Sketch()));
  EXPECT_EQ(*other->Lease(job, 1), LeaseAnswer::kIsCommitted);

  ASSERT_TRUE(mine->Release(job).ok());
  EXPECT_EQ(*other->Lease(job, 0), LeaseAnswer::kTaken);
}

TEST_F(JobBooksTest, NothingIsCommittedToAJobThatDoesNotRun) {
  const auto books = Open("me");
  const int64_t job = books->Add(Entry('a'), 9)->number;
  ASSERT_EQ(*books->Lease(job, 0), LeaseAnswer::kTaken);
  ASSERT_TRUE(
      *books->Move(job, {JobState::kRunning}, JobState::kCancelled, ""));
  EXPECT_FALSE(*books->Holds(job, 0));
  EXPECT_FALSE(*books->Commit(job, Part(0), Sketch()));
  EXPECT_EQ(*books->Renew(job, 0.0), JobState::kCancelled);
  EXPECT_EQ(books->Find("aaaaaaaa")->num_shards_done, 0);
}

TEST_F(JobBooksTest, SumsFollowPartsThatComeChangeAndGo) {
  const auto books = Open("me");
  const int64_t job = books->Add(Entry('a'), 9)->number;
  for (int64_t shard = 0; shard < 3; ++shard) {
    ASSERT_EQ(*books->Lease(job, shard), LeaseAnswer::kTaken);
    ASSERT_TRUE(*books->Commit(job, Part(shard), Sketch()));
  }
  EXPECT_EQ(books->Find("aaaaaaaa")->num_shards_done, 3);
  EXPECT_EQ(books->Find("aaaaaaaa")->input_bytes_done, 300);
  EXPECT_EQ(books->Total(job)->num_documents, 6);
  EXPECT_EQ(books->Total(job)->num_ranked, 3);
  EXPECT_EQ(books->Flags(job)->at(kTooShort), 3);
  EXPECT_EQ(books->Sketches(job)->at("web").count(), 3);
  EXPECT_FALSE(*books->HasStaleSketches(job));

  ASSERT_TRUE(
      *books->Move(job, {JobState::kRunning}, JobState::kFinishing, ""));
  PartEntry flagged;
  flagged.shard = 1;
  flagged.file.sha256 = "t";
  flagged.input_bytes = 100;
  ScoreRow row = RowOf("a", "web", 0.5);
  row.flags = kDuplicateId;
  flagged.totals.Add(row, 0.0);
  EXPECT_FALSE(*books->Replace(job, flagged));  // without the right to finish
  ASSERT_EQ(*books->Lease(job, 3), LeaseAnswer::kTaken);
  EXPECT_TRUE(*books->Replace(job, flagged));
  EXPECT_EQ(books->Total(job)->num_ranked, 2);
  EXPECT_EQ(books->Flags(job)->at(kDuplicateId), 1);
  EXPECT_EQ(books->Flags(job)->at(kTooShort), 2);
  EXPECT_DOUBLE_EQ(books->Domains(job)->at("web").cost_seconds, 4.5);
  EXPECT_TRUE(*books->HasStaleSketches(job));
  ASSERT_TRUE(books->SetSketches(job, Sketch()).ok());
  EXPECT_FALSE(*books->HasStaleSketches(job));
  EXPECT_EQ(books->Sketches(job)->at("web").count(), 1);

  ASSERT_TRUE(books->Drop(job, 0).ok());
  ASSERT_TRUE(books->Drop(job, 0).ok());
  EXPECT_EQ(books->Find("aaaaaaaa")->num_shards_done, 2);
  EXPECT_EQ(books->Find("aaaaaaaa")->input_bytes_done, 200);
  EXPECT_EQ(books->Flags(job)->at(kTooShort), 1);
  const DomainTotals totals = *books->TotalsByDomain(job);
  EXPECT_EQ(totals.named.at("web").num_documents, 2);
  EXPECT_EQ(totals.named.at("web").num_ranked, 1);
  EXPECT_EQ(totals.num_others, 0);
  std::vector<int64_t> shards;
  ASSERT_TRUE(books
                  ->Parts(job,
                          [&shards](const PartEntry& part) {
                            shards.push_back(part.shard);
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_THAT(shards, ElementsAre(1, 2));
}

TEST_F(JobBooksTest, DomainsBeyondTheLimitAreToldAsOne) {
  const auto books = Open("me");
  const int64_t job = books->Add(Entry('a'), 9)->number;
  PartEntry part;
  DomainSketches sketches;
  const int num_domains = static_cast<int>(kMaxToldDomains) + 10;
  for (int i = 0; i < num_domains; ++i) {
    const std::string domain = absl::StrCat("domain-", 10000 + i);
    part.totals.Add(RowOf("a", domain, 0.5), 1.0);
    sketches[domain].Add(0.5);
  }
  ASSERT_EQ(*books->Lease(job, 0), LeaseAnswer::kTaken);
  ASSERT_TRUE(*books->Commit(job, part, sketches));
  EXPECT_EQ(books->Domains(job)->size(), kMaxToldDomains + 1);
  EXPECT_EQ(books->Domains(job)->at("").num_documents, 10);
  EXPECT_EQ(books->Sketches(job)->at("").count(), 10);
  EXPECT_EQ(books->Total(job)->num_documents, num_domains);
  EXPECT_EQ(books->TotalsByDomain(job)->named.size(), kMaxToldDomains);
  EXPECT_EQ(books->TotalsByDomain(job)->num_others, 10);
  EXPECT_EQ(books->TotalsByDomain(job)->others.num_documents, 10);
}

TEST_F(JobBooksTest, WhatWasEnteredIsThereAfterwards) {
  int64_t job = 0;
  {
    const auto books = Open("me");
    job = books->Add(Entry('a'), 9)->number;
    ASSERT_EQ(*books->Lease(job, 0), LeaseAnswer::kTaken);
    ASSERT_TRUE(*books->Commit(job, Part(0), Sketch()));
    ASSERT_EQ(*books->Lease(job, 1), LeaseAnswer::kTaken);
  }
  const auto books = Open("you");
  EXPECT_EQ(books->Find("aaaaaaaa")->num_shards_done, 1);
  EXPECT_EQ(*books->Lease(job, 0), LeaseAnswer::kIsCommitted);
  EXPECT_EQ(*books->Lease(job, 1), LeaseAnswer::kHeldByOther);
  clock_.Advance(absl::Seconds(16));
  EXPECT_EQ(*books->Lease(job, 1), LeaseAnswer::kTaken);
}

TEST_F(JobBooksTest, LeasesOfTheDeadCountForNothing) {
  const auto other = Open("you");
  const int64_t job = other->Add(Entry('a'), 9)->number;
  ASSERT_EQ(*other->Lease(job, 0), LeaseAnswer::kTaken);
  bool is_alive = true;
  const auto books =
      *JobBooks::Open({.path = path("books.sqlite"),
                       .owner = "me",
                       .is_alive =
                           [&is_alive](const std::string& owner) {
                             EXPECT_EQ(owner, "you");
                             return is_alive;
                           }},
                      clock_);
  EXPECT_EQ(*books->Lease(job, 0), LeaseAnswer::kHeldByOther);
  EXPECT_THAT(*books->LiveOwners(job), ElementsAre("you"));
  is_alive = false;
  EXPECT_TRUE(books->LiveOwners(job)->empty());
  EXPECT_EQ(*books->Lease(job, 0), LeaseAnswer::kTaken);
  EXPECT_FALSE(*other->Holds(job, 0));
}

TEST_F(JobBooksTest, AnOwnerIsAliveAsLongAsItHasItsLock) {
  EXPECT_FALSE(OwnerLock::IsAlive(folder_, "aa"));
  auto lock = OwnerLock::Take(folder_, "aa");
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(OwnerLock::IsAlive(folder_, "aa"));
  EXPECT_FALSE(OwnerLock::IsAlive(folder_, "bb"));
  lock->reset();
  EXPECT_FALSE(OwnerLock::IsAlive(folder_, "aa"));
  // A process that was killed leaves its file.
  Write("server-cc.lock", "");
  EXPECT_FALSE(OwnerLock::IsAlive(folder_, "cc"));
  EXPECT_FALSE(std::filesystem::exists(path("server-cc.lock")));
}

// The clock of a machine begins anew when it starts.
TEST_F(JobBooksTest, LeasesOfAnEarlierStartOfTheMachineCountForNothing) {
  const auto books = Open("me");
  const int64_t job = books->Add(Entry('a'), 9)->number;
  {
    auto raw = *SqlDatabase::Open(path("books.sqlite"));
    ASSERT_TRUE(raw->Run("INSERT INTO leases VALUES (?, 0, 'you', 'before',"
                         " 1e12)",
                         {job})
                    .ok());
  }
  EXPECT_TRUE(books->LiveOwners(job)->empty());
  EXPECT_EQ(*books->Lease(job, 0), LeaseAnswer::kTaken);
}

// Servers of two builds may share the books of a job.
TEST_F(JobBooksTest, ColumnsOfALaterBuildAreIgnored) {
  const auto books = Open("me");
  {
    auto raw = *SqlDatabase::Open(path("books.sqlite"));
    for (const char* table :
         {"jobs", "leases", "parts", "part_domains", "part_flags",
          "job_domains", "job_flags", "job_sketches"}) {
      ASSERT_TRUE(raw->Run(absl::StrCat("ALTER TABLE ", table,
                                        " ADD COLUMN later TEXT NOT NULL"
                                        " DEFAULT 'x'"))
                      .ok())
          << table;
    }
  }
  const auto job = books->Add(Entry('a'), 9);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(*books->Lease(job->number, 0), LeaseAnswer::kTaken);
  EXPECT_TRUE(*books->Commit(job->number, Part(0), Sketch()));
  EXPECT_TRUE(Open("you")->Find(job->id).ok());
}

TEST_F(JobBooksTest, OtherFilesAreRefused) {
  {
    auto raw = *SqlDatabase::Open(path("books.sqlite"));
    ASSERT_TRUE(raw->Run("PRAGMA user_version = 99").ok());
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(
      JobBooks::Open({.path = path("books.sqlite"), .owner = "me"}, clock_)
          .status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      JobBooks::Open({.path = path("none/books.sqlite"), .owner = "me"}, clock_)
          .status()));
}

}  // namespace
}  // namespace headwise
