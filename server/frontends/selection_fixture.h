// What the tests of headwise.v1.Selection share: an engine that follows a
// script, folders, and a plain client.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_FIXTURE_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_FIXTURE_H_

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "headwise/v1/selection.grpc.pb.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/services_fixture.h"

namespace headwise {

// Each token costs 1 nat, under the mask 1.25; a text with an 'x' is no number.
inline void AnswerScore(const FakeEngine::Call& call) {
  const std::vector<int32_t>& prompt = call.request.prompt;
  const bool is_bad =
      std::find(prompt.begin(), prompt.end(), 'x') != prompt.end();
  SliceResult rows;
  rows.score_logprobs.assign(prompt.size(), is_bad ? std::nanf("") : -1.0f);
  rows.contrast_logprobs.assign(prompt.size(), -1.25f);
  call.sink.OnRows(0, rows);
  call.sink.OnFinished(absl::OkStatus(), RequestUsage());
}

class SelectionServiceTest : public testing::Test {
 protected:
  SelectionServiceTest()
      : folder_(absl::StrCat(
            testing::TempDir(), "/selection_", getpid(), "_",
            testing::UnitTest::GetInstance()->current_test_info()->name())) {
    for (const char* name : {"in", "out"}) {
      std::filesystem::create_directories(folder_ / name);
    }
    engine_.SetScript(AnswerScore);
  }
  ~SelectionServiceTest() override {
    frontends_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start(bool with_jobs = true) {
    frontends_.reset();
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = "";
    options.metrics_address = "";
    options.shape = FakeShape();
    if (with_jobs) {
      options.selection.state = folder_ / "state";
      options.selection.inputs = {{"corpus", folder_ / "in"}};
      options.selection.output = folder_ / "out";
    }
    auto frontends =
        ServerFrontends::Create(options, {.engine = engine_,
                                          .model = fakes_.model,
                                          .tokenizer = fakes_.tokenizer,
                                          .cluster = cluster_});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    stub_ = v1::Selection::NewStub(frontends_->InProcessChannel());
  }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(30));
  }
  static v1::MaskedPlan Masked() {
    HeadPlan plan = FullPlan(2, 4, 2);
    plan.heads[5].mask = HeadMask::kUniform;
    v1::MaskedPlan message;
    WriteHeadPlan(plan, message.mutable_inline_plan());
    return message;
  }

  // Streams of documents.
  static v1::ScoreDocumentsRequest Terms() {
    v1::ScoreDocumentsRequest request;
    *request.mutable_terms()->mutable_masked_plan() = Masked();
    request.mutable_terms()->mutable_ranking()->set_min_tokens(3);
    return request;
  }
  static v1::ScoreDocumentsRequest Documents(
      const std::vector<std::string>& texts) {
    v1::ScoreDocumentsRequest request;
    for (const std::string& text : texts) {
      v1::SelectionDocument& document = *request.add_documents();
      document.set_id(absl::StrCat("document ", request.documents_size() - 1));
      document.set_text(text);
    }
    return request;
  }
  struct Answer {
    grpc::Status status;
    std::vector<v1::SelectionRow> rows;
  };
  Answer Score(const std::vector<v1::ScoreDocumentsRequest>& messages) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto stream = stub_->ScoreDocuments(&context);
    std::thread writer([&] {
      for (const auto& message : messages) {
        if (!stream->Write(message)) break;
      }
      stream->WritesDone();
    });
    Answer answer;
    v1::ScoreDocumentsResponse response;
    while (stream->Read(&response)) {
      answer.rows.insert(answer.rows.end(), response.rows().begin(),
                         response.rows().end());
    }
    writer.join();
    answer.status = stream->Finish();
    return answer;
  }

  // Jobs.
  void WriteInput(int num_documents) {
    std::ofstream file(folder_ / "in" / "documents.jsonl");
    for (int i = 0; i < num_documents; ++i) {
      file << absl::StrCat(R"({"id":"d)", i, R"(","domain":")",
                           i % 2 == 0 ? "even" : "odd", R"(","text":")",
                           std::string(4 + i % 7, 'a'), "\"}\n");
    }
  }
  static v1::CreateJobRequest Spec() {
    v1::CreateJobRequest request;
    *request.mutable_spec()->mutable_masked_plan() = Masked();
    request.mutable_spec()->mutable_ranking()->set_min_tokens(3);
    request.mutable_spec()->mutable_input()->set_root("corpus");
    return request;
  }
  grpc::Status Create(const v1::CreateJobRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub_->CreateJob(&context, request);
    v1::CreateJobResponse event;
    while (reader->Read(&event)) {
      if (event.has_job()) job_ = event.job();
    }
    return reader->Finish();
  }
  // Until its end, which it returns with the last state in job_.
  grpc::Status Watch() {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::WatchJobRequest request;
    request.set_job_id(job_.job_id());
    request.set_interval_seconds(0.05);
    const auto reader = stub_->WatchJob(&context, request);
    v1::SelectionJob job;
    while (reader->Read(&job)) job_ = job;
    return reader->Finish();
  }
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::Selection::Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*),
                    Request request, Response* response) {
    grpc::ClientContext context;
    SetDeadline(context);
    return (stub_.get()->*method)(&context, request, response);
  }
  template <typename Request>
  grpc::Status OnJob(grpc::Status (v1::Selection::Stub::*method)(
      grpc::ClientContext*, const Request&, v1::SelectionJob*)) {
    Request request;
    request.set_job_id(job_.job_id());
    return Call(method, request, &job_);
  }
  Answer TopK(const v1::TopKRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context);
    const auto reader = stub_->TopK(&context, request);
    Answer answer;
    v1::TopKResponse message;
    while (reader->Read(&message)) {
      for (const auto& ranked : message.rows()) {
        answer.rows.push_back(ranked.row());
      }
    }
    answer.status = reader->Finish();
    return answer;
  }

  const std::filesystem::path folder_;
  FakeServed fakes_;
  FakeCluster cluster_;
  FakeEngine engine_;
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<v1::Selection::Stub> stub_;
  v1::SelectionJob job_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_FIXTURE_H_
