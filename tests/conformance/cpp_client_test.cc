// client/cpp against real services with an engine of the test's own.

#include <cstdlib>

#include "client/cpp/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/server_frontends.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CppClientTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.metrics_address = "";
    options.shape = FakeShape();
    auto frontends =
        ServerFrontends::Create(options, {.engine = engine_,
                                          .model = fakes_.model,
                                          .tokenizer = fakes_.tokenizer,
                                          .cluster = cluster_});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    ClientOptions client;
    client.timeout = absl::Seconds(60);
    client.retry.chance = [] { return 0.0; };
    client.retry.sleep = [this](absl::Duration delay) {
      slept_.push_back(delay);
      if (on_sleep_) on_sleep_();
    };
    client_ = Client::Connect("127.0.0.1:" + std::to_string(frontends_->port()),
                              client);
    generate_.set_text("hi");
    score_.set_text("abc");
  }

  FakeServed fakes_;
  FakeCluster cluster_;
  FakeEngine engine_;
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<Client> client_;
  std::vector<absl::Duration> slept_;
  std::function<void()> on_sleep_;
  v1::GenerateRequest generate_;
  v1::ScoreRequest score_;
};

void SayHi(const FakeEngine::Call& call) {
  for (const char c : {'h', 'i'}) {
    SliceResult outcome;
    outcome.token = c;
    call.sink.OnToken(outcome);
  }
  call.sink.OnFinished(absl::OkStatus(), {});
}

TEST_F(CppClientTest, StreamsEvents) {
  engine_.SetScript(SayHi);
  std::string text;
  ASSERT_TRUE(client_
                  ->Generate(generate_,
                             [&](const v1::GenerateResponse& event) {
                               text += event.generated().text();
                               return true;
                             })
                  .ok());
  EXPECT_EQ(text, "hi");
}

TEST_F(CppClientTest, ComesAgainWhenTheServerSays) {
  engine_.SetScript(SayHi);
  engine_.Refuse(absl::UnavailableError("the group is forming"));
  on_sleep_ = [this] { engine_.Refuse(absl::OkStatus()); };
  int events = 0;
  EXPECT_TRUE(client_
                  ->Generate(generate_,
                             [&](const v1::GenerateResponse&) {
                               ++events;
                               return true;
                             })
                  .ok());
  EXPECT_EQ(events, 3);
  EXPECT_THAT(slept_, ElementsAre(kRetryWhenUnavailable));
}

TEST_F(CppClientTest, ProxiesOfTheEnvironmentAreNotAsked) {
  for (const char* name : {"no_proxy", "no_grpc_proxy"}) unsetenv(name);
  // Nobody listens on port 1.
  setenv("http_proxy", "http://127.0.0.1:1", /*overwrite=*/1);
  const auto client =
      Client::Connect("127.0.0.1:" + std::to_string(frontends_->port()), {});
  const auto model = client->GetModel({});
  unsetenv("http_proxy");
  EXPECT_TRUE(model.ok()) << model.status();
}

TEST_F(CppClientTest, AMessageThatIsTooLargeIsSentOnce) {
  score_.set_text(std::string(17 << 20, 'a'));
  EXPECT_EQ(client_->Score(score_).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(slept_.empty());
}

// Says the bytes of `text` that the client has not received, up to `end`.
FakeEngine::Script SayUpTo(const std::string& text, size_t end,
                           absl::Status status) {
  return [=](const FakeEngine::Call& call) {
    for (size_t i = call.request.received.size(); i < end; ++i) {
      SliceResult outcome;
      outcome.token = text[i];
      if (!call.sink.OnToken(outcome)) break;
    }
    call.sink.OnFinished(status, {});
  };
}

TEST_F(CppClientTest, ABrokenStreamIsResumedAndNothingIsHeardTwice) {
  const std::string text = "a stream of text";
  const absl::Status broken = absl::UnavailableError("the leader died");
  engine_.SetScript(SayUpTo(text, 3, broken));
  on_sleep_ = [&] {
    engine_.SetScript(slept_.size() < 2
                          ? SayUpTo(text, 10, broken)
                          : SayUpTo(text, text.size(), absl::OkStatus()));
  };
  std::string heard;
  int num_tokens = 0;
  const absl::Status status =
      client_->Generate(generate_, [&](const v1::GenerateResponse& event) {
        heard += event.generated().text();
        num_tokens += event.generated().tokens_size();
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(heard, text);
  EXPECT_EQ(num_tokens, static_cast<int>(text.size()));
  EXPECT_EQ(slept_.size(), 2u);
}

// "EN" is held back for it may begin a stop string, and told with the end.
TEST_F(CppClientTest, WhatIsHeldBackAcrossABreakComesOnce) {
  generate_.mutable_options()->add_stop("END");
  engine_.SetScript(SayUpTo("one EN", 5, absl::UnavailableError("gone")));
  on_sleep_ = [&] {
    engine_.SetScript(SayUpTo("one EN", 6, absl::OkStatus()));
  };
  std::string heard;
  ASSERT_TRUE(client_
                  ->Generate(generate_,
                             [&](const v1::GenerateResponse& event) {
                               heard += event.generated().text();
                               return true;
                             })
                  .ok());
  EXPECT_EQ(heard, "one EN");
}

TEST_F(CppClientTest, ResumingEndsWhenNothingMoreComes) {
  engine_.SetScript(SayUpTo("abc", 2, absl::UnavailableError("worker died")));
  const absl::Status status = client_->Generate(
      generate_, [](const v1::GenerateResponse&) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("worker died"));
  EXPECT_EQ(slept_.size(), size_t{RetryOptions().max_resumes});
}

TEST_F(CppClientTest, FalseFromTheCallbackCancels) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    call.sink.OnPrefill(1, 2);
    call.wait_for_cancel();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
  });
  EXPECT_EQ(client_
                ->Generate(generate_,
                           [](const v1::GenerateResponse&) { return false; })
                .code(),
            absl::StatusCode::kCancelled);
}

TEST_F(CppClientTest, StatusesKeepCodeAndMessage) {
  engine_.Refuse(absl::OutOfRangeError("needs 9 bytes, 5 are available"));
  EXPECT_EQ(client_->Score(score_).status(),
            absl::OutOfRangeError("needs 9 bytes, 5 are available"));
  v1::ChatRequest chat;
  chat.add_messages()->set_role("user");
  EXPECT_EQ(client_->Chat(chat, [](const auto&) { return true; }).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(CppClientTest, EveryUnaryMethodReachesItsService) {
  v1::TokenizeRequest tokenize;
  tokenize.set_text("a");
  EXPECT_EQ(client_->Tokenize(tokenize)->ids(0), 'a');
  v1::DetokenizeRequest detokenize;
  detokenize.add_ids('b');
  EXPECT_EQ(client_->Detokenize(detokenize)->text(), "b");
  EXPECT_EQ(client_->GetModel({})->name(), "tiny");
  EXPECT_EQ(client_->GetHeadMap({})->world_size(), 1u);
  v1::PlanPlacementRequest plan;
  plan.add_workers();
  EXPECT_EQ(client_->PlanPlacement(plan)->world_size(), 1u);
  engine_.SetScript([](const FakeEngine::Call& call) {
    SliceResult outcome;
    outcome.hidden = {1, 2, 3};
    call.sink.OnRows(0, outcome);
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  v1::EmbedRequest embed;
  embed.mutable_tokens()->add_ids('a');
  EXPECT_THAT(client_->Embed(embed)->embedding(), ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace headwise
