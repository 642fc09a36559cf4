// headwise.v1.Sessions over a channel, with a real engine and model workers.

#include "server/frontends/sessions_service.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/server_frontends.h"
#include "server/leases/task_pool.h"
#include "server/scheduler/model_workers.h"

namespace headwise {
namespace {

using testing::HasSubstr;

EngineOptions RealEngineOptions() {
  EngineOptions options;
  options.kv = {.num_layers = 2,
                .num_kv_heads = 2,
                .heads_per_kv_head = 2,
                .head_dim = 8};
  options.kv_capacity = {.unit_rank = {0, 0, 0, 0}, .rank_bytes = {1 << 20}};
  options.max_context_len = 32;
  return options;
}

class ModelDispatcher final : public Dispatcher {
 public:
  void Submit(Step step,
              std::function<void(absl::StatusOr<StepResult>)> done) override {
    const absl::Status submitted = pool_.Submit(
        [this, step = std::move(step), done] { done(workers->Execute(step)); });
    EXPECT_TRUE(submitted.ok());
  }
  // After the step that runs, if one does.
  void Renew() {
    absl::Notification renewed;
    const absl::Status submitted = pool_.Submit([this, &renewed] {
      workers.emplace(RealEngineOptions().kv, RealEngineOptions().kv_capacity);
      renewed.Notify();
    });
    ASSERT_TRUE(submitted.ok()) << submitted;
    renewed.WaitForNotification();
  }
  std::optional<ModelWorkers> workers{std::in_place, RealEngineOptions().kv,
                                      RealEngineOptions().kv_capacity};

 private:
  TaskPool pool_{1};
};

class SessionsServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = "";
    options.metrics_address = "";
    options.shape = FakeShape();
    options.upload_run_tokens = 4;
    auto frontends =
        ServerFrontends::Create(options, {.engine = *engine_,
                                          .model = fakes_.model,
                                          .tokenizer = fakes_.tokenizer,
                                          .cluster = cluster_});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    stub_ = v1::Sessions::NewStub(frontends_->InProcessChannel());
    inference_ = v1::Inference::NewStub(frontends_->InProcessChannel());
  }

  static std::unique_ptr<grpc::ClientContext> Context(
      const std::string& tenant = "") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    if (!tenant.empty()) context->AddMetadata(kTenantKey, tenant);
    return context;
  }
  static v1::UploadRequest Ids(const std::vector<int32_t>& ids) {
    v1::UploadRequest request;
    request.mutable_tokens()->mutable_ids()->Assign(ids.begin(), ids.end());
    return request;
  }
  grpc::Status Upload(const std::vector<v1::UploadRequest>& messages) {
    const auto context = Context();
    const auto stream = stub_->Upload(context.get());
    for (const v1::UploadRequest& message : messages) {
      if (!stream->Write(message)) break;
    }
    stream->WritesDone();
    v1::UploadProgress progress;
    while (stream->Read(&progress)) {
      EXPECT_GE(progress.received_tokens(), progress.processed_tokens());
      EXPECT_GE(progress.processed_tokens(), last_.processed_tokens());
      last_ = progress;
    }
    return stream->Finish();
  }
  const std::string& id() const { return last_.session().session_id(); }

  // Tokens of an answer that begins with the session.
  std::vector<int32_t> Generate(grpc::StatusCode expected) {
    v1::GenerateRequest request;
    request.mutable_tokens()->add_ids(9);
    request.set_session_id(id());
    request.mutable_options()->set_max_tokens(4);
    request.mutable_options()->set_ignore_eos(true);
    const auto context = Context();
    const auto stream = inference_->Generate(context.get(), request);
    v1::GenerateResponse event;
    std::vector<int32_t> tokens;
    while (stream->Read(&event)) {
      for (const auto& token : event.generated().tokens()) {
        tokens.push_back(token.token());
      }
    }
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), expected) << status.error_message();
    error_ = status.error_message();
    return tokens;
  }
  template <typename Request>
  grpc::Status Move(grpc::Status (v1::Sessions::Stub::*method)(
                        grpc::ClientContext*, const Request&,
                        v1::PromptSession*),
                    const std::string& tenant = "") {
    Request request;
    request.set_session_id(id());
    const auto context = Context(tenant);
    return (stub_.get()->*method)(context.get(), request, &session_);
  }

  FakeServed fakes_;
  FakeCluster cluster_;
  ModelDispatcher dispatcher_;
  std::unique_ptr<Engine> engine_ =
      Engine::Create(RealEngineOptions(), dispatcher_, Clock::Monotonic());
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<v1::Sessions::Stub> stub_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  v1::UploadProgress last_;
  v1::PromptSession session_;
  std::string error_;
};

TEST_F(SessionsServiceTest, UploadInPiecesThenAnswersBeginWithIt) {
  v1::UploadRequest second = Ids({6, 7});
  second.set_offset(5);
  const grpc::Status status = Upload({Ids({1, 2, 3, 4, 5}), second});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(last_.session().num_tokens(), 7);
  EXPECT_EQ(last_.processed_tokens(), 7);
  EXPECT_EQ(last_.session().state(), v1::PROMPT_SESSION_STATE_READY);
  const auto tokens = Generate(grpc::OK);
  EXPECT_EQ(tokens.size(), 4u);
  EXPECT_EQ(Generate(grpc::OK), tokens) << "the session stays as it was";

  v1::UploadRequest more = Ids({8});
  more.set_session_id(id());
  more.set_offset(7);
  ASSERT_TRUE(Upload({more}).ok());
  EXPECT_EQ(last_.session().num_tokens(), 8);
  EXPECT_NE(Generate(grpc::OK), tokens);
  EXPECT_EQ(engine_->stats().held, 3) << "two that it began with live on";
}

TEST_F(SessionsServiceTest, ParkedSessionComesBackTheSame) {
  ASSERT_TRUE(Upload({Ids({1, 2, 3, 4, 5})}).ok());
  const auto tokens = Generate(grpc::OK);
  grpc::Status status = Move(&v1::Sessions::Stub::Park);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(session_.state(), v1::PROMPT_SESSION_STATE_PARKED);
  EXPECT_EQ(engine_->stats().kv_bytes_used[0], 0);
  EXPECT_EQ(engine_->stats().parked, 1);
  Generate(grpc::FAILED_PRECONDITION);
  EXPECT_THAT(error_, HasSubstr("is parked"));
  EXPECT_EQ(Move(&v1::Sessions::Stub::Park).error_code(),
            grpc::FAILED_PRECONDITION);
  status = Move(&v1::Sessions::Stub::Resume);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(session_.state(), v1::PROMPT_SESSION_STATE_READY);
  EXPECT_EQ(Generate(grpc::OK), tokens);
}

TEST_F(SessionsServiceTest, OthersDoNotFindIt) {
  ASSERT_TRUE(Upload({Ids({1, 2, 3})}).ok());
  EXPECT_EQ(Move(&v1::Sessions::Stub::GetSession, "other").error_code(),
            grpc::NOT_FOUND);
  EXPECT_EQ(Move(&v1::Sessions::Stub::Park, "other").error_code(),
            grpc::NOT_FOUND);
  v1::ListPromptSessionsResponse list;
  ASSERT_TRUE(stub_->ListSessions(Context("other").get(), {}, &list).ok());
  EXPECT_EQ(list.sessions_size(), 0);
  ASSERT_TRUE(stub_->ListSessions(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.sessions_size(), 1);
  v1::DeletePromptSessionRequest request;
  request.set_session_id(id());
  v1::DeletePromptSessionResponse deleted;
  ASSERT_TRUE(stub_->Delete(Context().get(), request, &deleted).ok());
  EXPECT_EQ(Move(&v1::Sessions::Stub::GetSession).error_code(),
            grpc::NOT_FOUND);
  EXPECT_EQ(engine_->stats().held, 0);
}

TEST_F(SessionsServiceTest, BadChunksAreNamedAndWhatRanStays) {
  const auto refused = [this](v1::UploadRequest bad, const std::string& text) {
    const grpc::Status status = Upload({std::move(bad)});
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  v1::UploadRequest bad = Ids({1, 2});
  bad.set_offset(1);
  refused(bad, "offset: is 1; the session has 0 tokens");
  bad = Ids({1, 2});
  bad.set_sha256(std::string(32, 'x'));
  refused(bad, "sha256");
  refused(Ids({1, 259}), "tokens.ids[1]");
  refused(Ids(std::vector<int32_t>(33, 1)), "at most 32");
  bad = Ids({1});
  bad.set_session_id("none");
  refused(bad, "no session");
  EXPECT_THAT(Upload({}).error_message(), HasSubstr("no message"));
  EXPECT_EQ(engine_->stats().held, 0);
}

TEST_F(SessionsServiceTest, OutlivesTheWorkersThatHeldIt) {
  ASSERT_TRUE(Upload({Ids({1, 2, 3})}).ok());
  const std::vector<int32_t> before = Generate(grpc::OK);
  engine_->Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
  dispatcher_.Renew();
  engine_->Resume(RealEngineOptions().kv_capacity);
  EXPECT_EQ(Generate(grpc::OK), before);
  EXPECT_EQ(engine_->stats().held, 1);
}

TEST_F(SessionsServiceTest, ThatCantBeRunAgainIsDataLoss) {
  ASSERT_TRUE(Upload({Ids({1, 2, 3})}).ok());
  engine_->Release(1);
  Generate(grpc::DATA_LOSS);
  EXPECT_THAT(error_, HasSubstr("upload it again"));
  EXPECT_EQ(Move(&v1::Sessions::Stub::GetSession).error_code(),
            grpc::NOT_FOUND);
}

TEST(PromptSessionsTest, IdleSessionsGoAndBusyOnesStay) {
  ModelDispatcher dispatcher;
  FakeClock clock;
  const auto engine =
      Engine::Create(RealEngineOptions(), dispatcher, Clock::Monotonic());
  PromptSessions sessions(*engine, clock, absl::InfiniteDuration());
  PromptSession idle = *sessions.Open("", {});
  idle.num_tokens = 1;
  idle.state = PromptSession::State::kReady;
  sessions.Return(idle);
  const PromptSession busy = *sessions.Open("", {});
  clock.Advance(kPromptSessionTtl);
  sessions.Expire();
  EXPECT_TRUE(absl::IsNotFound(sessions.Get("", idle.id).status()));
  EXPECT_TRUE(sessions.Get("", busy.id).ok());
  sessions.Return(busy);
  EXPECT_TRUE(absl::IsNotFound(sessions.Get("", busy.id).status()))
      << "nothing has run";
}

TEST(PromptSessionsTest, NumberIsBounded) {
  ModelDispatcher dispatcher;
  FakeClock clock;
  const auto engine =
      Engine::Create(RealEngineOptions(), dispatcher, Clock::Monotonic());
  PromptSessions sessions(*engine, clock, absl::InfiniteDuration());
  for (size_t i = 0; i < kMaxPromptSessions; ++i) {
    ASSERT_TRUE(sessions.Open("", {}).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(sessions.Open("", {}).status()));
}

TEST(PromptSessionsTest, TokensAreBounded) {
  ModelDispatcher dispatcher;
  FakeClock clock;
  const auto engine =
      Engine::Create(RealEngineOptions(), dispatcher, Clock::Monotonic());
  PromptSessions sessions(*engine, clock, absl::InfiniteDuration());
  auto session = sessions.Open("", {});
  ASSERT_TRUE(session.ok());
  session->num_tokens = kMaxPromptSessionTokens - 1;
  sessions.Return(*session);
  EXPECT_TRUE(sessions.CheckRoom().ok());
  session->num_tokens = kMaxPromptSessionTokens;
  sessions.Return(*session);
  EXPECT_TRUE(absl::IsResourceExhausted(sessions.CheckRoom()));
  EXPECT_TRUE(absl::IsResourceExhausted(sessions.Open("", {}).status()));
}

}  // namespace
}  // namespace headwise
