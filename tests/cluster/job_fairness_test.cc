// What a selection job costs the requests beside it.

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "headwise/v1/selection.grpc.pb.h"
#include "proto/head_plan_codec.h"
#include "tests/cluster/fairness_fixture.h"

namespace headwise {
namespace {

// Case 72.
class JobTest : public FairnessFixture {
 protected:
  void ServeAJob() {
    const std::string in = folder_.Path("in"), out = folder_.Path("out");
    ASSERT_TRUE(std::filesystem::create_directory(in));
    ASSERT_TRUE(std::filesystem::create_directory(out));
    // Half a million tokens, more than can be scored meanwhile.
    std::ofstream corpus(in + "/corpus.jsonl");
    for (int i = 0; i < 500; ++i) {
      corpus << "{\"id\": \"" << i << "\", \"text\": \"";
      for (int word = 0; word < 300; ++word) corpus << word * i % 977 << " ";
      corpus << "\"}\n";
    }
    corpus.close();
    UseModelOfWeight();
    ASSERT_FALSE(HasFatalFailure());
    Serve({"--selection-state", folder_.Path("state"), "--input-root",
           "corpus=" + in, "--output-root", out});
    ASSERT_FALSE(HasFatalFailure());
    jobs_ = v1::Selection::NewStub(channel_);
    v1::CreateJobRequest request;
    v1::SelectionJobSpec& spec = *request.mutable_spec();
    HeadPlan masked = FullPlan();
    masked.heads.at(5).mask = HeadMask::kUniform;
    WriteHeadPlan(masked, spec.mutable_masked_plan()->mutable_inline_plan());
    spec.mutable_input()->set_root("corpus");
    spec.mutable_input()->set_shard_bytes(4 << 10);
    const auto context = Context(kReady);
    const auto reader = jobs_->CreateJob(context.get(), request);
    v1::CreateJobResponse response;
    while (reader->Read(&response)) {
    }
    const grpc::Status status = reader->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
    job_id_ = response.job().job_id();
  }

  v1::SelectionJob Job() {
    v1::GetJobRequest request;
    request.set_job_id(job_id_);
    v1::SelectionJob job;
    const grpc::Status status = jobs_->GetJob(Context().get(), request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  // Returns once nothing of it runs; once it has come further.
  void Pause() {
    v1::PauseJobRequest request;
    request.set_job_id(job_id_);
    v1::SelectionJob job;
    EXPECT_TRUE(jobs_->PauseJob(Context().get(), request, &job).ok());
    EXPECT_TRUE(WaitForKvFreed(kReady));
  }
  void Resume() {
    v1::ResumeJobRequest request;
    request.set_job_id(job_id_);
    v1::SelectionJob job;
    EXPECT_TRUE(jobs_->ResumeJob(Context().get(), request, &job).ok());
    ExpectItGoesOn();
  }
  void ExpectItGoesOn() {
    const int64_t tokens = Job().tokens();
    EXPECT_TRUE(WaitUntil([&] { return Job().tokens() > tokens; }, kReady))
        << Job().ShortDebugString();
    EXPECT_EQ(Job().state(), v1::SELECTION_JOB_STATE_RUNNING);
  }

  std::unique_ptr<v1::Selection::Stub> jobs_;
  std::string job_id_;
};

TEST_F(JobTest, FiftyChatsWaitForAStepOfAJobAtMost) {
  ServeAJob();
  ASSERT_FALSE(HasFatalFailure());
  ExpectAtMost(
      1.5,
      [&] {
        Pause();
        return FiftyChats();
      },
      [&] {
        Resume();
        return FiftyChats();
      });
}

// Rows of a job go in steps of their own: while an answer is written there are
// none. Of what had been scored before a shard may be committed meanwhile.
TEST_F(JobTest, AJobHasNoRowWhileAnAnswerIsWritten) {
  ServeAJob();
  ASSERT_FALSE(HasFatalFailure());
  ExpectItGoesOn();
  const int64_t before = Job().shards_done();
  ExpectATokenInEachStep(2000);
  EXPECT_LE(Job().shards_done() - before, 2);
  ExpectItGoesOn();
}

}  // namespace
}  // namespace headwise
