// Selection.ScoreDocuments over a channel.

#include "server/frontends/selection_service.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/selection_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(SelectionServiceTest, RowsComeInOrderWithSumsAndFlags) {
  Start(/*with_jobs=*/false);
  v1::ScoreDocumentsRequest first = Terms();
  *first.mutable_documents() = Documents({"abcd", "", "ab"}).documents();
  const Answer answer = Score({first, Documents({"axxa", "a\xff"})});
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.rows.size(), 5u);
  const v1::SelectionRow& row = answer.rows[0];
  EXPECT_EQ(row.doc_id(), "document 0");
  EXPECT_EQ(row.n_tokens(), 4);
  EXPECT_EQ(row.nll_base(), 4.0);
  EXPECT_EQ(row.nll_masked(), 5.0);
  EXPECT_EQ(row.loss_base(), 1.0);
  EXPECT_EQ(row.loss_masked(), 1.25);
  EXPECT_EQ(row.score(), 0.25);
  EXPECT_TRUE(row.flags().empty());
  EXPECT_THAT(answer.rows[1].flags(), ElementsAre("empty_text"));
  EXPECT_FALSE(answer.rows[1].has_score());
  EXPECT_FALSE(answer.rows[1].has_nll_base());
  EXPECT_THAT(answer.rows[2].flags(), ElementsAre("too_short"));
  EXPECT_TRUE(answer.rows[2].has_score());
  EXPECT_THAT(answer.rows[3].flags(), ElementsAre("not_finite"));
  EXPECT_THAT(answer.rows[4].flags(), ElementsAre("invalid_utf8"));
}

// The first one ends last.
TEST_F(SelectionServiceTest, ARowWaitsForThoseBeforeIt) {
  Start(false);
  absl::BlockingCounter others(20);
  engine_.SetScript([&](const FakeEngine::Call& call) {
    if (call.request.prompt.size() > 5) {
      others.Wait();
    } else {
      others.DecrementCount();
    }
    AnswerScore(call);
  });
  std::vector<std::string> texts = {"long text"};
  for (int i = 0; i < 20; ++i) texts.push_back(absl::StrCat("t", i));
  const Answer answer = Score({Terms(), Documents(texts)});
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.rows.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(answer.rows[i].doc_id(), absl::StrCat("document ", i));
  }
}

// A client that reads nothing, and an engine that answers nothing: what is
// under way stays bounded, and afterwards all rows come.
TEST_F(SelectionServiceTest, ReadsNoFurtherThanItsLimits) {
  Start(false);
  absl::Notification go;
  std::atomic<int> submitted = 0;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    ++submitted;
    go.WaitForNotification();
    AnswerScore(call);
  });
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = stub_->ScoreDocuments(&context);
  std::atomic<int> written = 0;
  const int num_messages = 100;
  const int num_open = 32;  // 16 MiB
  std::thread writer([&] {
    v1::ScoreDocumentsRequest terms = Terms();
    terms.mutable_terms()->mutable_scoring()->set_max_tokens(8);
    EXPECT_TRUE(stream->Write(terms));
    for (int i = 0; i < num_messages; ++i) {
      EXPECT_TRUE(stream->Write(Documents({std::string(512 << 10, 'a')})));
      ++written;
    }
    EXPECT_TRUE(stream->WritesDone());
  });
  const auto start = std::chrono::steady_clock::now();
  while (submitted < num_open &&
         std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
    std::this_thread::yield();
  }
  EXPECT_EQ(submitted, num_open);
  // Some are on their way.
  EXPECT_LT(written, num_messages / 2);
  go.Notify();
  int num_rows = 0;
  v1::ScoreDocumentsResponse response;
  while (stream->Read(&response)) num_rows += response.rows_size();
  writer.join();
  EXPECT_EQ(num_rows, num_messages);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(SelectionServiceTest, AnErrorComesAfterTheRowsBeforeIt) {
  Start(false);
  v1::ScoreDocumentsRequest bad = Documents({"three", "four"});
  bad.mutable_documents(1)->set_domain(std::string(257, 'd'));
  const Answer answer = Score({Terms(), Documents({"one", "two"}), bad});
  EXPECT_EQ(answer.rows.size(), 3u);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(answer.status.error_message(),
              HasSubstr("documents[1].domain: has 257 bytes"));
  EXPECT_EQ(DetailsOf(answer.status).bad_request.field_violations(0).field(),
            "documents[1].domain");
}

TEST_F(SelectionServiceTest, TermsAreOfTheFirstMessage) {
  Start(false);
  EXPECT_THAT(Score({}).status.error_message(), HasSubstr("terms: "));
  EXPECT_THAT(Score({Documents({"a"})}).status.error_message(),
              HasSubstr("terms: are not in the stream's first message"));
  EXPECT_THAT(Score({Terms(), Terms()}).status.error_message(),
              HasSubstr("terms: are of the stream's first message alone"));
  v1::ScoreDocumentsRequest terms = Terms();
  terms.mutable_terms()->clear_masked_plan();
  const Answer answer = Score({terms});
  EXPECT_THAT(answer.status.error_message(), HasSubstr("select detect"));
  EXPECT_TRUE(Score({Terms()}).status.ok());
}

TEST_F(SelectionServiceTest, ALostGroupEndsTheStreamAndMayBeTriedAgain) {
  Start(false);
  engine_.SetScript([](const FakeEngine::Call& call) {
    if (call.request.prompt.size() < 6) return AnswerScore(call);
    call.sink.OnFinished(absl::UnavailableError("the group is lost"),
                         RequestUsage());
  });
  const Answer answer = Score({Terms(), Documents({"one", "two", "thirty"})});
  EXPECT_EQ(answer.rows.size(), 2u);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(DetailsOf(answer.status).has_retry);
}

TEST_F(SelectionServiceTest, StreamsAreBoundedAndAPlaceIsFreeAgain) {
  Start(false);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<
      v1::ScoreDocumentsRequest, v1::ScoreDocumentsResponse>>>
      streams;
  for (int i = 0; i < kMaxDocumentStreams; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    SetDeadline(*contexts.back());
    streams.push_back(stub_->ScoreDocuments(contexts.back().get()));
    v1::ScoreDocumentsRequest request = Terms();
    *request.mutable_documents() = Documents({"abcd"}).documents();
    ASSERT_TRUE(streams.back()->Write(request));
    v1::ScoreDocumentsResponse response;
    ASSERT_TRUE(streams.back()->Read(&response));
  }
  EXPECT_EQ(Score({Terms()}).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(streams[3]->WritesDone());
  ASSERT_TRUE(streams[3]->Finish().ok());
  EXPECT_TRUE(Score({Terms()}).status.ok());
  contexts[4]->TryCancel();
  EXPECT_EQ(streams[4]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  for (auto& context : contexts) context->TryCancel();
}

TEST_F(SelectionServiceTest, ADrainingServerEndsStreams) {
  Start(false);
  engine_.SetScript([this](const FakeEngine::Call& call) {
    while (engine_.closed().ok()) std::this_thread::yield();
    call.sink.OnFinished(engine_.closed(), RequestUsage());
  });
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = stub_->ScoreDocuments(&context);
  v1::ScoreDocumentsRequest request = Terms();
  *request.mutable_documents() = Documents({"abcd"}).documents();
  ASSERT_TRUE(stream->Write(request));
  frontends_->Drain(absl::Milliseconds(50));
  v1::ScoreDocumentsResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Score({Terms()}).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(SelectionServiceTest, WithoutFoldersJobsAreRefusedByName) {
  Start(/*with_jobs=*/false);
  EXPECT_EQ(OnJob(&v1::Selection::Stub::GetJob).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  const grpc::Status status = Create(Spec());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("--selection-state"));
  EXPECT_EQ(Watch().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::TopKRequest top;
  top.set_count(1);
  EXPECT_EQ(TopK(top).status.error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace headwise
