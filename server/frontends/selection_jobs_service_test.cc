// Selection's calls about jobs over a channel.

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/selection_fixture.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using SelectionJobsServiceTest = SelectionServiceTest;

TEST_F(SelectionJobsServiceTest, AJobRunsAndItsBestRowsAreFound) {
  WriteInput(20);
  Start();
  grpc::Status status = Create(Spec());
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(job_.job_id().size(), 64u);
  status = Watch();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_DONE) << job_.reason();
  EXPECT_EQ(job_.documents(), 20);
  EXPECT_EQ(job_.scored(), 20);
  EXPECT_EQ(job_.ranked(), 20);
  EXPECT_EQ(job_.shards_done(), job_.shards_total());
  EXPECT_EQ(job_.bytes_done(), job_.bytes_total());
  EXPECT_EQ(job_.result_sha256().size(), 64u);
  EXPECT_THAT(job_.masked_heads(), ElementsAre("1.1"));
  ASSERT_EQ(job_.domains_size(), 2);
  EXPECT_EQ(job_.domains(0).domain(), "even");
  EXPECT_EQ(job_.domains(0).documents(), 10);

  v1::TopKRequest top;
  top.set_job_id(job_.job_id().substr(0, 8));
  top.set_count(2);
  const Answer best = TopK(top);
  ASSERT_TRUE(best.status.ok()) << best.status.error_message();
  std::vector<std::string> ids;
  for (const auto& row : best.rows) ids.push_back(row.doc_id());
  // All scores are equal, so ids decide.
  EXPECT_THAT(ids, ElementsAre("d0", "d10", "d1", "d11"));

  v1::QuantilesRequest quantiles;
  quantiles.set_job_id(job_.job_id());
  quantiles.add_quantiles(1);
  v1::QuantilesResponse response;
  status = Call(&v1::Selection::Stub::Quantiles, quantiles, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.domains_size(), 2);
  EXPECT_EQ(response.domains(0).count(), 10);
  EXPECT_EQ(response.domains(0).scores(0), 0.25);
}

TEST_F(SelectionJobsServiceTest, TheSameSpecIsTheSameJob) {
  WriteInput(5);
  Start();
  ASSERT_TRUE(Create(Spec()).ok());
  const std::string id = job_.job_id();
  ASSERT_TRUE(Watch().ok());
  ASSERT_TRUE(Create(Spec()).ok());
  EXPECT_EQ(job_.job_id(), id);
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_DONE);
  v1::CreateJobRequest other = Spec();
  other.mutable_spec()->mutable_ranking()->set_min_tokens(4);
  ASSERT_TRUE(Create(other).ok());
  EXPECT_NE(job_.job_id(), id);
  v1::ListJobsResponse list;
  ASSERT_TRUE(
      Call(&v1::Selection::Stub::ListJobs, v1::ListJobsRequest(), &list).ok());
  EXPECT_EQ(list.jobs_size(), 2);
}

// An engine that answers nothing keeps the job running.
TEST_F(SelectionJobsServiceTest, AJobIsPausedResumedAndCancelled) {
  WriteInput(5);
  std::atomic<bool> holds = true;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    while (holds) std::this_thread::yield();
    AnswerScore(call);
  });
  Start();
  ASSERT_TRUE(Create(Spec()).ok());
  v1::TopKRequest top;
  top.set_job_id(job_.job_id());
  top.set_count(1);
  EXPECT_THAT(TopK(top).status.error_message(),
              AllOf(HasSubstr("RUNNING"), HasSubstr("DONE")));
  std::thread release([&] { holds = false; });
  ASSERT_TRUE(OnJob(&v1::Selection::Stub::PauseJob).ok());
  release.join();
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_PAUSED);
  EXPECT_THAT(job_.reason(), HasSubstr("client"));
  ASSERT_TRUE(OnJob(&v1::Selection::Stub::ResumeJob).ok());
  ASSERT_TRUE(Watch().ok());
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_DONE);
  EXPECT_EQ(OnJob(&v1::Selection::Stub::PauseJob).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(OnJob(&v1::Selection::Stub::CancelJob).ok());
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_DONE);
}

TEST_F(SelectionJobsServiceTest, ADrainEndsWatchersAndANewServerGoesOn) {
  WriteInput(5);
  std::atomic<bool> holds = true;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    while (holds) std::this_thread::yield();
    AnswerScore(call);
  });
  Start();
  ASSERT_TRUE(Create(Spec()).ok());
  std::thread drain([this] { frontends_->Drain(absl::ZeroDuration()); });
  EXPECT_EQ(Watch().error_code(), grpc::StatusCode::UNAVAILABLE);
  holds = false;
  drain.join();
  EXPECT_EQ(OnJob(&v1::Selection::Stub::GetJob).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  Start();
  ASSERT_TRUE(Watch().ok());
  EXPECT_EQ(job_.state(), v1::SELECTION_JOB_STATE_DONE) << job_.reason();
}

TEST_F(SelectionJobsServiceTest, ErrorsNameTheField) {
  WriteInput(1);
  Start();
  v1::CreateJobRequest request = Spec();
  request.mutable_spec()->mutable_input()->set_root("elsewhere");
  EXPECT_EQ(Create(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request = Spec();
  request.mutable_spec()->mutable_input()->add_paths("../out");
  grpc::Status status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << status.error_message();
  request = Spec();
  request.mutable_spec()->set_output("../elsewhere");
  status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << status.error_message();
  EXPECT_EQ(DetailsOf(status).bad_request.field_violations(0).field(),
            "spec.output");
  job_.set_job_id("0123456789abcdef");
  EXPECT_EQ(OnJob(&v1::Selection::Stub::GetJob).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Watch().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace headwise
