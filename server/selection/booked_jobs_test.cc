#include "server/selection/booked_jobs.h"

#include "gmock/gmock.h"
#include "server/selection/selection_jobs_fixture.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

class BookedJobsTest : public SelectionJobsTest {
 protected:
  absl::StatusOr<std::vector<JobStatus>> Read(absl::string_view id = "") const {
    return ReadBookedJobs(path_of("state"), path_of("out"), id);
  }
};

TEST_F(BookedJobsTest, TellWhatTheServerTold) {
  WriteCorpus(2);
  FakeModel model;
  JobStatus told;
  {
    const auto jobs = Open(Options(model));
    told = WaitFor(*jobs, Create(*jobs, Spec()).id, JobState::kDone);
  }
  const auto all = Read();
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_TRUE(all->front().domains.empty());
  const JobStatus job = Read(told.id.substr(0, 8))->front();
  EXPECT_EQ(job.id, told.id);
  EXPECT_EQ(job.state, JobState::kDone);
  EXPECT_EQ(job.output_dir, told.output_dir);
  EXPECT_EQ(job.total.num_tokens, told.total.num_tokens);
  EXPECT_EQ(job.domains.size(), told.domains.size());
  EXPECT_EQ(job.flags, told.flags);
  EXPECT_EQ(job.result_sha256, told.result_sha256);
  EXPECT_EQ(job.note, "");
}

TEST_F(BookedJobsTest, SayWhetherAServerDrivesAJob) {
  WriteCorpus(3);
  FakeModel model;
  model.fail = [](const std::string&) { return absl::UnavailableError("no"); };
  std::string id;
  {
    const auto jobs = Open(Options(model));
    id = Create(*jobs, Spec()).id;
    WaitUntil(*jobs, id,
              [](const JobStatus& job) { return !job.note.empty(); });
    EXPECT_EQ(Read(id)->front().note, "a server drives it");
  }
  const JobStatus job = Read(id)->front();
  EXPECT_EQ(job.state, JobState::kRunning);
  EXPECT_EQ(job.note, "no server drives it now");
}

TEST_F(BookedJobsTest, FoldersWithoutBooksStayAsTheyAre) {
  EXPECT_TRUE(absl::IsNotFound(Read().status()));
  EXPECT_THAT(std::string(Read().status().message()),
              HasSubstr("holds no jobs.sqlite"));
  EXPECT_TRUE(Files(path_of("state")).empty());
  FakeModel model;
  Open(Options(model)).reset();
  EXPECT_TRUE(Read()->empty());
  EXPECT_TRUE(absl::IsNotFound(Read("01234567").status()));
}

}  // namespace
}  // namespace headwise
