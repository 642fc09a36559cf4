// Jobs whose model, input, output or books let them down.

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "server/selection/selection_jobs_fixture.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

class JobFaultsTest : public SelectionJobsTest {
 protected:
  static bool HasPart(const JobStatus& status) {
    return status.num_shards_done > 0;
  }
};

// While it lives, no file of this process grows beyond that.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t max_bytes) {
    signal(SIGXFSZ, SIG_IGN);  // write() fails instead
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = max_bytes;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() { EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before_), 0); }

 private:
  rlimit before_ = {};
};

// Permissions don't hold for the superuser.
class AsNobody {
 public:
  explicit AsNobody(const std::string& folder) : was_root_(geteuid() == 0) {
    if (!was_root_) return;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(folder)) {
      EXPECT_EQ(chown(entry.path().c_str(), kNobody, kNobody), 0);
    }
    EXPECT_EQ(chown(folder.c_str(), kNobody, kNobody), 0);
    EXPECT_EQ(seteuid(kNobody), 0);
  }
  ~AsNobody() {
    if (was_root_) {
      EXPECT_EQ(seteuid(0), 0);
    }
  }

 private:
  static constexpr uid_t kNobody = 65534;
  const bool was_root_;
};

TEST_F(JobFaultsTest, WhatTheModelLosesIsScoredAgain) {
  WriteCorpus(2);
  FakeModel model;
  std::atomic<int> num_calls = 0;
  model.fail = [&num_calls](const std::string&) -> absl::Status {
    const int call = ++num_calls;
    if (call % 7 == 3) return absl::UnavailableError("the group was lost");
    if (call % 11 == 4) return absl::CancelledError("the engine stops");
    return absl::OkStatus();
  };
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
}

TEST_F(JobFaultsTest, AJobWaitsForItsModelAndSaysSo) {
  WriteCorpus(1);
  FakeModel model;
  std::atomic<bool> is_there = false;
  SelectionJobsOptions options = Options(model);
  options.make_scorer = [&](const JobManifest& manifest)
      -> absl::StatusOr<std::unique_ptr<DocumentScorer>> {
    EXPECT_EQ(manifest.masked_heads, Spec().manifest.masked_heads);
    if (!is_there) return absl::UnavailableError("no workers");
    return std::make_unique<FakeDocumentScorer>(model);
  };
  const auto jobs = Open(options);
  const JobStatus job = Create(*jobs, Spec());
  const JobStatus waits = WaitUntil(*jobs, job.id, [](const JobStatus& status) {
    return !status.note.empty();
  });
  EXPECT_EQ(waits.state, JobState::kRunning);
  EXPECT_THAT(waits.note, HasSubstr("no workers"));
  is_there = true;
  EXPECT_EQ(WaitFor(*jobs, job.id, JobState::kDone).note, "");
}

TEST_F(JobFaultsTest, ValuesThatAreNotFiniteAreRows) {
  WriteCorpus(2);
  FakeModel model;
  model.fail = [](const std::string& text) -> absl::Status {
    return text[0] == '7' ? absl::OutOfRangeError("nan") : absl::OkStatus();
  };
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  const JobStatus done = WaitFor(*jobs, job.id, JobState::kDone);
  EXPECT_GT(done.flags.at(kNotFinite), 0);
  EXPECT_EQ(done.total.num_scored, 80 - done.flags.at(kNotFinite));
}

TEST_F(JobFaultsTest, OtherErrorsPauseTheJobWithAReason) {
  WriteCorpus(2);
  FakeModel model;
  std::atomic<bool> is_broken = true;
  model.fail = [&](const std::string& text) -> absl::Status {
    return is_broken && text[0] == '7' ? absl::InternalError("no such layer")
                                       : absl::OkStatus();
  };
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
  EXPECT_THAT(paused.reason, HasSubstr("shard "));
  EXPECT_THAT(paused.reason, HasSubstr("document \"doc-"));
  EXPECT_THAT(paused.reason, HasSubstr("no such layer"));
  is_broken = false;
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
}

TEST_F(JobFaultsTest, ChangedInputIsRefusedUntilItIsBack) {
  WriteCorpus(2);
  const auto expected = Expected(Spec());
  const std::string before = ReadAll(path_of("in/1.jsonl"));
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  ASSERT_TRUE(jobs->Pause(job.id, "").ok());
  std::string after = before;
  after[after.size() - 20] ^= 1;
  Write("in/1.jsonl", after);
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
  EXPECT_THAT(paused.reason, HasSubstr("shard "));
  EXPECT_THAT(paused.reason, HasSubstr("1.jsonl"));
  Write("in/1.jsonl", before);
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), expected);
}

TEST_F(JobFaultsTest, PartsThatAreGoneOrDamagedAreWrittenAgain) {
  WriteCorpus(3);
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  WaitUntil(*jobs, job.id,
            [](const JobStatus& status) { return status.num_shards_done > 2; });
  const JobStatus paused = *jobs->Pause(job.id, "");
  const std::vector<JobPart> parts = *jobs->Parts(job.id);
  std::filesystem::remove(job.output_dir + "/" + parts[0].file);
  const std::string damaged = job.output_dir + "/" + parts[1].file;
  std::string bytes = ReadAll(damaged);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(damaged, std::ios::binary) << bytes;

  ASSERT_TRUE(jobs->Resume(job.id).ok());
  const JobStatus done = WaitFor(*jobs, job.id, JobState::kDone);
  EXPECT_EQ(done.num_shards_done, done.num_shards);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
  int64_t num_sketched = 0;
  const DomainSketches sketches = *jobs->Sketches(job.id);
  for (const auto& [domain, sketch] : sketches) {
    num_sketched += sketch.count();
  }
  EXPECT_EQ(num_sketched, done.total.num_ranked);
}

// Ids that do not compress, so that one part outgrows the books.
TEST_F(JobFaultsTest, AFullDiskPausesTheJobAndLeavesNothingBehind) {
  std::minstd_rand random(11);
  std::string lines;
  for (int i = 0; i < 3000; ++i) {
    std::string id;
    while (id.size() < 400) absl::StrAppend(&id, absl::Hex(random()));
    lines += Line(id, "web", std::string(100, 'x'));
  }
  Write("in/ids.jsonl", lines);
  JobSpec spec = Spec();
  spec.manifest.input.shard_bytes = 64 << 20;
  FakeModel model;
  model.num_at_once = 64;
  const auto jobs = Open(Options(model));
  JobStatus job;
  {
    const FileSizeLimit limit(256 << 10);
    job = Create(*jobs, spec);
    const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
    EXPECT_THAT(paused.reason, HasSubstr("part-000000.jsonl.zst"));
    EXPECT_EQ(Files(job.output_dir).size(), 1u);  // the manifest
  }
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), Expected(spec));
}

TEST_F(JobFaultsTest, BooksWithoutRoomPauseTheJobToo) {
  WriteCorpus(3);
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  {
    // Not even a journal fits.
    const FileSizeLimit limit(16);
    const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
    EXPECT_THAT(paused.reason, HasSubstr("jobs.sqlite"));
  }
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
}

TEST_F(JobFaultsTest, LostPermissionPausesTheJob) {
  WriteCorpus(3);
  const auto expected = Expected(Spec());
  const AsNobody nobody(folder_);
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  WaitUntil(*jobs, job.id, HasPart);
  const std::string rows = job.output_dir + "/rows";
  std::filesystem::permissions(rows, std::filesystem::perms(0555));
  const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
  EXPECT_THAT(paused.reason, HasSubstr("ermission denied"));
  std::filesystem::permissions(rows, std::filesystem::perms(0755));
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  WaitFor(*jobs, job.id, JobState::kDone);
  ExpectSameFiles(Files(job.output_dir), expected);
}

TEST_F(JobFaultsTest, AFolderOfAnotherManifestIsLeftAlone) {
  WriteCorpus(1);
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  ASSERT_TRUE(jobs->Pause(job.id, "").ok());
  std::ofstream(job.output_dir + "/manifest.json") << "{}";
  ASSERT_TRUE(jobs->Resume(job.id).ok());
  const JobStatus paused = WaitFor(*jobs, job.id, JobState::kPaused);
  EXPECT_THAT(paused.reason, HasSubstr("manifest.json"));
}

TEST_F(JobFaultsTest, BooksThatAreNoBooksAreRefused) {
  FakeModel model;
  Write("state/jobs.sqlite", std::string(4096, 'x'));
  EXPECT_TRUE(absl::IsDataLoss(SelectionJobs::Open(Options(model)).status()));
}

}  // namespace
}  // namespace headwise
