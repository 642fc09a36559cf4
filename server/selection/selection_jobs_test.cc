#include "server/selection/selection_jobs.h"

#include <set>

#include "absl/strings/match.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "server/selection/document_row.h"
#include "server/selection/input_fixture.h"
#include "server/selection/part_totals.h"
#include "server/selection/row_codec.h"
#include "server/selection/selection_jobs_fixture.h"
#include "server/selection/shard_output.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

std::string Sha256OfText(const std::string& text) {
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size())));
}

class JobsTest : public SelectionJobsTest {
 protected:
  // The rows of all parts, in order.
  static std::vector<ScoreRow> Rows(SelectionJobs& jobs, const JobStatus& job) {
    std::vector<ScoreRow> rows;
    const std::vector<JobPart> parts = *jobs.Parts(job.id);
    for (const JobPart& part : parts) {
      EXPECT_TRUE(ReadPart(job.output_dir + "/" + part.file, part.sha256,
                           [&rows](ScoreRow& row) {
                             rows.push_back(row);
                             return absl::OkStatus();
                           })
                      .ok());
    }
    return rows;
  }

  // What the rows must be, from the input alone.
  std::vector<ScoreRow> RowsOfInput(const JobSpec& spec) const {
    InputOptions input = spec.manifest.input;
    input.root = path_of("in");
    std::vector<ScoreRow> rows;
    std::set<std::string> ids;
    for (Document& document : headwise::ReadAll(input)) {
      const std::string text = document.text;
      ScoreRow row =
          CheckDocument(spec.manifest.ranking, document)
              ? *ScoredRow(spec.manifest.ranking, document, FakeLoss(text))
              : UnscoredRow(document);
      if (!ids.insert(row.doc_id).second) row.flags |= kDuplicateId;
      rows.push_back(row);
    }
    return rows;
  }

  static JobStatus RunToTheEnd(SelectionJobs& jobs, const JobSpec& spec) {
    const JobStatus job = Create(jobs, spec);
    return WaitFor(jobs, job.id, JobState::kDone);
  }
};

TEST_F(JobsTest, WritesOneRowForEachDocumentInTheOrderOfTheInput) {
  WriteCorpus(4);
  FakeModel model;
  model.delay = absl::Milliseconds(1);
  const auto jobs = Open(Options(model));
  const JobStatus job = RunToTheEnd(*jobs, Spec());

  const std::vector<ScoreRow> rows = Rows(*jobs, job);
  const std::vector<ScoreRow> expected = RowsOfInput(Spec());
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(RowToJson(rows[i]), RowToJson(expected[i]));
  }
  EXPECT_GT(job.num_shards, 8);
  EXPECT_GT(model.max_under_way, 1);
  EXPECT_LE(model.max_under_way, model.num_at_once);
}

TEST_F(JobsTest, TotalsAddUpInStatusAndResult) {
  WriteCorpus(4);
  FakeModel model;
  const auto jobs = Open(Options(model));
  const JobStatus job = RunToTheEnd(*jobs, Spec());

  EXPECT_EQ(job.num_shards_done, job.num_shards);
  EXPECT_EQ(job.input_bytes_done, job.input_bytes);
  EXPECT_EQ(job.total.num_documents, 4 * 41);
  EXPECT_EQ(job.total.num_scored, 4 * 40);
  EXPECT_EQ(job.flags.at(kBrokenRecord), 4);
  EXPECT_EQ(job.flags.at(kDuplicateId), 3);
  EXPECT_EQ(job.total.num_ranked, 4 * 40 - 3 - job.flags.at(kTooShort));
  DomainProgress sum;
  for (const auto& [domain, progress] : job.domains) sum += progress;
  EXPECT_EQ(sum.num_documents, job.total.num_documents);
  EXPECT_EQ(sum.num_ranked, job.total.num_ranked);
  EXPECT_GT(job.running_seconds, 0.0);
  EXPECT_GT(job.total.cost_seconds, 0.0);
  int64_t num_sketched = 0;
  const DomainSketches sketches = *jobs->Sketches(job.id);
  for (const auto& [domain, sketch] : sketches) {
    EXPECT_EQ(sketch.count(), job.domains.at(domain).num_ranked);
    num_sketched += sketch.count();
  }
  EXPECT_EQ(num_sketched, job.total.num_ranked);

  const auto result =
      nlohmann::json::parse(ReadAll(job.output_dir + "/result.json"));
  EXPECT_EQ(result["job_id"], job.id);
  EXPECT_EQ(result["documents"], job.total.num_documents);
  EXPECT_EQ(result["ranked"], job.total.num_ranked);
  EXPECT_EQ(result["flags"]["duplicate_id"], 3);
  EXPECT_EQ(result["domains"].size(), job.domains.size());
  std::string hashes;
  int64_t num_rows = 0;
  for (const auto& part : result["parts"]) {
    hashes += part["sha256"].get<std::string>() + "\n";
    num_rows += part["rows"].get<int64_t>();
  }
  EXPECT_EQ(num_rows, job.total.num_documents);
  EXPECT_EQ(result["result_sha256"], job.result_sha256);
  EXPECT_EQ(Sha256OfText(hashes), job.result_sha256);
}

TEST_F(JobsTest, BytesDependOnNeitherBatchNorShardsAtOnce) {
  WriteCorpus(3);
  const auto expected = Expected(Spec());
  EXPECT_EQ(expected.count("result.json"), 1u);
  for (const int64_t num_at_once : {1, 3, 64}) {
    FakeModel model;
    model.num_at_once = num_at_once;
    SelectionJobsOptions options = Options(model);
    options.state_dir = path_of(absl::StrCat("state", num_at_once));
    options.max_open_shards = num_at_once;
    options.max_text_bytes = 1;
    const auto jobs = Open(options);
    JobSpec spec = Spec();
    spec.output = absl::StrCat("run", num_at_once);
    const JobStatus job = RunToTheEnd(*jobs, spec);
    ExpectSameFiles(Files(job.output_dir), expected);
    // One text is let in whatever its size, and no second one.
    EXPECT_EQ(model.max_under_way, 1);
  }
}

TEST_F(JobsTest, TheSameSpecIsTheSameJobAndFree) {
  WriteCorpus(2);
  FakeModel model;
  const auto jobs = Open(Options(model));
  const JobStatus job = RunToTheEnd(*jobs, Spec());
  const int64_t num_scored = model.num_scored;
  EXPECT_EQ(job.id, Sha256OfText(ReadAll(job.output_dir + "/manifest.json")));

  const JobStatus again = Create(*jobs, Spec());
  EXPECT_EQ(again.id, job.id);
  EXPECT_EQ(again.state, JobState::kDone);
  EXPECT_EQ(model.num_scored, num_scored);

  JobSpec elsewhere = Spec();
  elsewhere.output = "elsewhere";
  const auto refused =
      jobs->Create(elsewhere, [](int64_t, int64_t) { return true; });
  EXPECT_TRUE(absl::IsAlreadyExists(refused.status())) << refused.status();

  Write("in/0.jsonl", Line("x", "web", std::string(100, 'x')));
  EXPECT_NE(Create(*jobs, Spec()).id, job.id);
}

TEST_F(JobsTest, CreateTellsWhatIsWrong) {
  WriteCorpus(1);
  FakeModel model;
  const auto jobs = Open(Options(model));
  const auto error = [&jobs](const std::function<void(JobSpec&)>& change) {
    JobSpec spec = Spec();
    change(spec);
    return jobs->Create(spec, [](int64_t, int64_t) { return true; }).status();
  };
  EXPECT_TRUE(absl::IsNotFound(
      error([](JobSpec& spec) { spec.manifest.input.root = "other"; })));
  EXPECT_TRUE(absl::IsInvalidArgument(
      error([](JobSpec& spec) { spec.output = "../out"; })));
  EXPECT_TRUE(absl::IsInvalidArgument(
      error([](JobSpec& spec) { spec.output = "/tmp"; })));
  EXPECT_TRUE(absl::IsInvalidArgument(
      error([](JobSpec& spec) { spec.manifest.mask = "none"; })));
  EXPECT_TRUE(absl::IsNotFound(
      error([](JobSpec& spec) { spec.manifest.input.paths = {"gone"}; })));

  std::filesystem::create_directories(path_of("out/taken"));
  Write("out/taken/notes.txt", "mine");
  const absl::Status taken =
      error([](JobSpec& spec) { spec.output = "taken"; });
  EXPECT_TRUE(absl::IsFailedPrecondition(taken)) << taken;
  EXPECT_THAT(std::string(taken.message()), HasSubstr("notes.txt"));
  EXPECT_FALSE(std::filesystem::exists(path_of("out/taken/rows")));

  std::filesystem::create_symlink(path_of("in"), path_of("out/link"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      error([](JobSpec& spec) { spec.output = "link"; })));

  JobSpec spec = Spec();
  spec.output = "a/b";
  const JobStatus job = RunToTheEnd(*jobs, spec);
  EXPECT_EQ(job.output_dir, path_of("out/a/b"));
  const absl::Status other = error([](JobSpec& other_spec) {
    other_spec.output = "a/b";
    other_spec.manifest.ranking.min_tokens = 1;
  });
  EXPECT_TRUE(absl::IsFailedPrecondition(other)) << other;
  EXPECT_THAT(std::string(other.message()), HasSubstr(job.id));

  EXPECT_TRUE(absl::IsCancelled(
      jobs->Create(Spec(), [](int64_t, int64_t) { return false; }).status()));
}

TEST_F(JobsTest, OnlySoManyJobsAreKeptAndTheirFilesStay) {
  WriteCorpus(1);
  FakeModel model;
  SelectionJobsOptions options = Options(model);
  options.max_jobs = 1;
  const auto jobs = Open(options);
  const JobStatus first = RunToTheEnd(*jobs, Spec());
  const auto files = Files(first.output_dir);
  JobSpec other = Spec();
  other.manifest.ranking.min_tokens = 1;
  RunToTheEnd(*jobs, other);
  EXPECT_TRUE(absl::IsNotFound(jobs->Get(first.id).status()));
  EXPECT_EQ(jobs->List()->size(), 1u);
  ExpectSameFiles(Files(first.output_dir), files);
  // What was forgotten is done again, into the same files.
  EXPECT_EQ(RunToTheEnd(*jobs, Spec()).id, first.id);
  ExpectSameFiles(Files(first.output_dir), files);
}

TEST_F(JobsTest, JobsAreFoundByFirstDigits) {
  WriteCorpus(1);
  FakeModel model;
  const auto jobs = Open(Options(model));
  const JobStatus job = RunToTheEnd(*jobs, Spec());
  EXPECT_EQ(jobs->Get(job.id.substr(0, 8))->id, job.id);
  EXPECT_TRUE(absl::IsInvalidArgument(jobs->Get("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(jobs->Get(job.id.substr(0, 7)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(jobs->Get("%%%%%%%%").status()));
  EXPECT_TRUE(absl::IsNotFound(jobs->Get(std::string(64, 'f')).status()));
}

TEST_F(JobsTest, PauseResumeAndCancelKeepWhatIsCommitted) {
  WriteCorpus(4);
  FakeModel model;
  model.delay = absl::Milliseconds(5);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  const auto has_part = [](const JobStatus& status) {
    return status.num_shards_done > 0;
  };
  WaitUntil(*jobs, job.id, has_part);

  const JobStatus paused = *jobs->Pause(job.id, "lunch");
  EXPECT_EQ(paused.state, JobState::kPaused);
  EXPECT_EQ(paused.reason, "lunch");
  EXPECT_EQ(NumUnfinished(job.output_dir), 0);

  EXPECT_EQ(jobs->Resume(job.id)->state, JobState::kRunning);
  WaitUntil(*jobs, job.id, [&](const JobStatus& status) {
    return status.num_shards_done > paused.num_shards_done;
  });
  const JobStatus cancelled = *jobs->Cancel(job.id);
  EXPECT_EQ(cancelled.state, JobState::kCancelled);
  EXPECT_EQ(NumUnfinished(job.output_dir), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(jobs->Resume(job.id).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(jobs->Pause(job.id, "").status()));
  EXPECT_EQ(jobs->Cancel(job.id)->state, JobState::kCancelled);

  model.num_scored = 0;
  EXPECT_EQ(Create(*jobs, Spec()).id, job.id);
  const JobStatus done = WaitFor(*jobs, job.id, JobState::kDone);
  EXPECT_LE(model.num_scored,
            done.total.num_scored - cancelled.total.num_scored);
  ExpectSameFiles(Files(job.output_dir), Expected(Spec()));
}

TEST_F(JobsTest, OneJobWaitsForAnother) {
  WriteCorpus(2);
  FakeModel model;
  std::atomic<bool> is_there = false;
  model.fail = [&is_there](const std::string&) -> absl::Status {
    return is_there ? absl::OkStatus() : absl::UnavailableError("not yet");
  };
  SelectionJobsOptions options = Options(model);
  options.max_driven = 1;
  const auto jobs = Open(options);
  const JobStatus first = Create(*jobs, Spec());
  JobSpec other = Spec();
  other.manifest.ranking.min_tokens = 1;
  const JobStatus second = Create(*jobs, other);
  WaitUntil(*jobs, first.id, [](const JobStatus& status) {
    return absl::StrContains(status.note, "not yet");
  });
  EXPECT_THAT(jobs->Get(second.id)->note, HasSubstr("waits"));
  is_there = true;
  WaitFor(*jobs, second.id, JobState::kDone);
  const auto all = *jobs->List();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, first.id);
  EXPECT_EQ(all[1].id, second.id);
}

TEST_F(JobsTest, AWatchSeesTheJobUntilItsEnd) {
  WriteCorpus(3);
  FakeModel model;
  model.delay = absl::Milliseconds(1);
  const auto jobs = Open(Options(model));
  const JobStatus job = Create(*jobs, Spec());
  absl::Mutex mutex;
  std::vector<JobStatus> seen;
  const auto watch = *jobs->Watch(job.id, absl::Milliseconds(20),
                                  [&](const JobStatus& status) {
                                    absl::MutexLock lock(&mutex);
                                    seen.push_back(status);
                                  });
  absl::MutexLock lock(&mutex);
  const auto is_over = [&seen] {
    return !seen.empty() && IsFinal(seen.back().state);
  };
  EXPECT_TRUE(
      mutex.AwaitWithTimeout(absl::Condition(&is_over), absl::Seconds(30)));
  EXPECT_GT(seen.size(), 2u);
  EXPECT_EQ(seen.back().num_shards_done, seen.back().num_shards);
}

TEST_F(JobsTest, AWatchThatIsGoneIsNotCalled) {
  WriteCorpus(1);
  FakeModel model;
  const auto jobs = Open(Options(model));
  const JobStatus job = RunToTheEnd(*jobs, Spec());
  for (int i = 0; i < 300; ++i) {
    int num_calls = 0;
    auto watch = jobs->Watch(job.id, absl::Milliseconds(20),
                             [&num_calls](const JobStatus&) { ++num_calls; });
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch->reset();  // waits, or `num_calls` would be touched after its end
  }
}

}  // namespace
}  // namespace headwise
