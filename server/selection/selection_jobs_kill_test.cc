// Jobs whose server ends at any moment, or is not the only one.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/selection/selection_jobs_fixture.h"

namespace headwise {
namespace {

constexpr int kNumKills = 100;
constexpr uint32_t kSeed = 20261126;

class JobKillTest : public SelectionJobsTest {
 protected:
  // A server that runs all jobs to their end, in a process of its own.
  pid_t StartServer(int64_t num_at_once) const {
    const pid_t child = fork();
    if (child != 0) return child;
    FakeModel model;
    model.num_at_once = num_at_once;
    model.delay = absl::Microseconds(200);
    SelectionJobsOptions options = Options(model);
    options.max_open_shards = 1 + num_at_once % 3;
    options.lease = absl::Hours(1);  // nobody waits for the dead
    const auto jobs = SelectionJobs::Open(options);
    if (!jobs.ok()) _exit(2);
    const auto job =
        (*jobs)->Create(KilledSpec(), [](int64_t, int64_t) { return true; });
    if (!job.ok()) _exit(3);
    while (true) {
      const auto status = (*jobs)->Get(job->id);
      if (!status.ok()) _exit(4);
      if (status->state == JobState::kDone) _exit(0);
      if (status->state == JobState::kPaused) _exit(5);
      absl::SleepFor(absl::Milliseconds(2));
    }
  }

  std::string OutputDir() const {
    for (const auto& entry :
         std::filesystem::directory_iterator(path_of("out"))) {
      return entry.path();
    }
    return "";
  }

  JobSpec KilledSpec() const {
    JobSpec spec = Spec();
    spec.manifest.input.shard_bytes = shard_bytes_;
    return spec;
  }

  // Kills kNumKills servers, on average `mean` after their start; a job that is
  // done meanwhile is looked at and begun anew.
  void KillOften(absl::Duration mean) const {
    const auto expected = Expected(KilledSpec());
    std::mt19937 random(kSeed);
    std::exponential_distribution<double> moment(
        1.0 / absl::ToDoubleMilliseconds(mean));
    int num_kills = 0;
    int status = -1;
    while (num_kills < kNumKills) {
      const pid_t child = StartServer(1 + static_cast<int64_t>(random() % 9));
      ASSERT_GT(child, 0);
      absl::SleepFor(absl::Milliseconds(moment(random)));
      kill(child, SIGKILL);
      ASSERT_EQ(waitpid(child, &status, 0), child);
      if (WIFSIGNALED(status)) {
        ++num_kills;
        continue;
      }
      ASSERT_EQ(WEXITSTATUS(status), 0) << "seed " << kSeed;
      SCOPED_TRACE(testing::Message() << num_kills << " kills, seed " << kSeed);
      ExpectSameFiles(Files(OutputDir()), expected);
      std::filesystem::remove_all(path_of("out"));
      std::filesystem::remove_all(path_of("state"));
      std::filesystem::create_directories(path_of("out"));
    }
    const pid_t child = StartServer(5);
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_EQ(WEXITSTATUS(status), 0);
    ExpectSameFiles(Files(OutputDir()), expected);
  }

  int64_t shard_bytes_ = 2048;
};

TEST_F(JobKillTest, KillsAtRandomMomentsChangeNoByte) {
  WriteCorpus(6);
  KillOften(absl::Milliseconds(60));
}

// So small that as many kills hit its begin and its end as its shards.
TEST_F(JobKillTest, KillsOfASmallJobChangeNoByte) {
  WriteCorpus(2);
  shard_bytes_ = 1 << 20;
  KillOften(absl::Milliseconds(25));
}

TEST_F(JobKillTest, AClosedServerIsFollowedAtOnce) {
  WriteCorpus(4);
  FakeModel model;
  model.delay = absl::Milliseconds(1);
  SelectionJobsOptions options = Options(model);
  options.lease = absl::Hours(1);  // given back, so nobody waits for its end
  std::string id;
  for (int i = 0; i < 5; ++i) {
    const auto jobs = Open(options);
    id = Create(*jobs, Spec()).id;
    WaitUntil(*jobs, id, [i](const JobStatus& status) {
      return status.num_shards_done > 2 * i || status.state == JobState::kDone;
    });
  }
  model.delay = absl::ZeroDuration();
  const auto jobs = Open(options);
  const JobStatus done = WaitFor(*jobs, id, JobState::kDone);
  ExpectSameFiles(Files(done.output_dir), Expected(Spec()));
}

TEST_F(JobKillTest, TwoServersShareTheShardsOfAJob) {
  WriteCorpus(6);
  FakeModel one;
  FakeModel two;
  one.delay = two.delay = absl::Milliseconds(5);
  const auto first = Open(Options(one));
  const auto second = Open(Options(two));
  const JobStatus job = Create(*first, Spec());
  EXPECT_EQ(Create(*second, Spec()).id, job.id);
  const JobStatus done = WaitFor(*first, job.id, JobState::kDone);
  EXPECT_EQ(WaitFor(*second, job.id, JobState::kDone).result_sha256,
            done.result_sha256);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
  EXPECT_GT(one.num_scored, 0);
  EXPECT_GT(two.num_scored, 0);
  EXPECT_EQ(one.num_scored + two.num_scored, done.total.num_scored);
}

TEST_F(JobKillTest, APauseHoldsForTheOtherServerToo) {
  WriteCorpus(4);
  FakeModel one;
  FakeModel two;
  one.delay = two.delay = absl::Milliseconds(5);
  const auto first = Open(Options(one));
  const auto second = Open(Options(two));
  const JobStatus job = Create(*first, Spec());
  WaitUntil(*second, job.id,
            [](const JobStatus& status) { return status.num_shards_done > 0; });
  ASSERT_TRUE(second->Pause(job.id, "by the other").ok());
  EXPECT_EQ(first->Get(job.id)->reason, "by the other");
  // Both have let go of it when neither has a document under way.
  for (int i = 0; i < 3000; ++i) {
    if (one.num_under_way + two.num_under_way == 0) break;
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(one.num_under_way + two.num_under_way, 0);
  const int64_t num_done = first->Get(job.id)->num_shards_done;
  ASSERT_TRUE(first->Resume(job.id).ok());
  const JobStatus done = WaitFor(*second, job.id, JobState::kDone);
  EXPECT_GT(done.num_shards_done, num_done);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
}

}  // namespace
}  // namespace headwise
