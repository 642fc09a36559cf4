// The services as a client meets them, over a channel and with an engine that
// follows a script.

#include <cmath>
#include <thread>

#include "absl/synchronization/notification.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/response_stream.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;
using testing::StartsWith;

// Generates `text` byte by byte; OK at its end or when the sink has enough.
FakeEngine::Script Say(const std::vector<int32_t>& ids) {
  return [ids](const FakeEngine::Call& call) {
    call.sink.OnPrefill(1, 2);
    call.sink.OnPrefill(2, 2);
    RequestUsage usage;
    usage.prompt_tokens = 2;
    for (const int32_t id : ids) {
      ++usage.generated_tokens;
      if (!call.sink.OnToken(Token(id))) break;
    }
    call.sink.OnFinished(absl::OkStatus(), usage);
  };
}

std::vector<int32_t> Bytes(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST_F(ServicesTest, GenerateStreamsProgressThenTextThenUsage) {
  engine_.SetScript(Say(Bytes("abc")));
  const Answer answer = Generate(Prompt());
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.text, "abc");
  ASSERT_EQ(answer.events.size(), 6u);
  EXPECT_EQ(answer.events[0].prefill().processed_tokens(), 1);
  EXPECT_EQ(answer.events[1].prefill().total_tokens(), 2);
  EXPECT_EQ(answer.events[2].generated().tokens(0).token(), 'a');
  // Not asked for.
  EXPECT_EQ(answer.events[2].generated().tokens(0).logprob(), 0);
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finished.usage().generated_tokens(), 3);
}

TEST_F(ServicesTest, AStopStringEndsTheTextAndIsNotReturned) {
  engine_.SetScript(Say(Bytes("one END two")));
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->add_stop("END");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.text, "one ");
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finished.usage().generated_tokens(), 7);  // engine stopped
}

TEST_F(ServicesTest, AHalfStopStringAtTheEndIsText) {
  engine_.SetScript(Say(Bytes("one EN")));
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->add_stop("END");
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.text, "one EN");
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(ServicesTest, AResumedAnswerGoesOnAfterWhatWasReceived) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    EXPECT_THAT(call.request.received, ElementsAre('o', 'n', 'e', ' ', 'E'));
    Say(Bytes("ND two"))(call);
  });
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->add_stop("END");
  for (const char c : {'o', 'n', 'e', ' ', 'E'}) {
    request.mutable_received()->add_ids(c);
  }
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.text, "");  // "one " was told, "E" is of the stop string
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(ServicesTest, AnAnswerReceivedWholeEndsWithoutWork) {
  engine_.Refuse(absl::InternalError("nothing is to be done"));
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->set_max_tokens(2);
  request.mutable_received()->add_ids('a');
  request.mutable_received()->add_ids('b');
  Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finished.usage().generated_tokens(), 2);
  request.mutable_received()->set_ids(1, 258);
  answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(ServicesTest, ReceivedTokensThatCantBeAreRefusedByField) {
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->set_max_tokens(2);
  request.mutable_received()->add_ids(259);
  EXPECT_THAT(std::string(Generate(request).status.message()),
              StartsWith("received.ids[0]: is 259"));
  request.mutable_received()->set_ids(0, 258);
  request.mutable_received()->add_ids('a');
  EXPECT_THAT(std::string(Generate(request).status.message()),
              StartsWith("received.ids[1]: is 97; the answer has ended"));
  request.mutable_received()->add_ids('b');
  EXPECT_THAT(std::string(Generate(request).status.message()),
              StartsWith("received.ids: has 3 ids; the answer has at most 2"));
}

TEST_F(ServicesTest, AnEndTokenStopsWithoutText) {
  engine_.SetScript(Say({'a', 258, 'b'}));
  const Answer answer = Generate(Prompt());
  EXPECT_EQ(answer.text, "a");
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finished.usage().generated_tokens(), 2);
}

TEST_F(ServicesTest, ACharacterOfSeveralTokensComesWhole) {
  engine_.SetScript(Say(Bytes("\xC3\xA9!")));
  const Answer answer = Generate(Prompt());
  EXPECT_EQ(answer.text, "\xC3\xA9!");
  EXPECT_EQ(answer.events[2].generated().text(), "");
  EXPECT_EQ(answer.events[3].generated().text(), "\xC3\xA9");
}

TEST_F(ServicesTest, LogprobsComeWhenAskedFor) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    EXPECT_TRUE(call.request.sampling.logprobs);
    EXPECT_EQ(call.request.sampling.top_logprobs, 2);
    SliceResult outcome = Token('a', -0.25f);
    outcome.top = {{'a', -0.25f}, {'b', -2.0f}};
    call.sink.OnToken(outcome);
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->set_top_logprobs(2);
  const Answer answer = Generate(request);
  ASSERT_EQ(answer.events.size(), 2u);
  const v1::GeneratedText& generated = answer.events[0].generated();
  EXPECT_EQ(generated.tokens(0).logprob(), -0.25f);
  EXPECT_EQ(generated.tokens(0).text(), "a");
  ASSERT_EQ(generated.top_logprobs(0).alternatives_size(), 2);
  EXPECT_EQ(generated.top_logprobs(0).alternatives(1).text(), "b");
}

TEST_F(ServicesTest, ChatRendersTheTemplate) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    EXPECT_EQ(call.request.prompt, Bytes("user:hi|"));
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  v1::ChatRequest request;
  auto* message = request.add_messages();
  message->set_role("user");
  message->set_content("hi");
  EXPECT_TRUE(client_->Chat(request, [](const auto&) { return true; }).ok());
}

TEST_F(ServicesTest, AnErrorInTheStreamComesAfterWhatWasSaid) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    call.sink.OnToken(Token('a'));
    call.sink.OnFinished(absl::UnavailableError("worker w1 died"), {});
  });
  const Answer answer = Generate(Prompt());
  EXPECT_EQ(answer.text, "a");
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(answer.status.message()), HasSubstr("w1"));
  EXPECT_FALSE(answer.events.back().has_finished());
}

TEST_F(ServicesTest, AClientThatLeavesCancelsItsWork) {
  absl::Notification cancelled;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    call.sink.OnToken(Token('a'));
    call.wait_for_cancel();
    cancelled.Notify();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
  });
  const absl::Status status = client_->Generate(
      Prompt(), [](const v1::GenerateResponse&) { return false; });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(cancelled.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST_F(ServicesTest, AUnaryClientThatLeavesCancelsItsWork) {
  absl::Notification started, cancelled;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    started.Notify();
    call.wait_for_cancel();
    cancelled.Notify();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
  });
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::ScoreRequest request;
    request.set_text("abc");
    v1::ScoreResponse response;
    EXPECT_EQ(stub_->Score(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  started.WaitForNotification();
  context.TryCancel();
  EXPECT_TRUE(cancelled.WaitForNotificationWithTimeout(absl::Seconds(30)));
  caller.join();
}

TEST_F(ServicesTest, ASlowReaderEndsWithResourceExhausted) {
  absl::Notification overflowed;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    int64_t bytes = 0;
    // The bound, what is in flight, and what came before the cancellation.
    const int64_t enough = 4 * kMaxBufferedBytes;
    while (!call.is_cancelled() && bytes < enough) {
      call.sink.OnToken(Token('a'));
      bytes += kMessageOverheadBytes;
    }
    EXPECT_TRUE(call.is_cancelled());
    EXPECT_GT(bytes, kMaxBufferedBytes / 2);
    overflowed.Notify();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
  });
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Prompt());
  ASSERT_TRUE(overflowed.WaitForNotificationWithTimeout(absl::Seconds(30)));
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("too slow"));
  EXPECT_TRUE(DetailsOf(status).has_retry);
}

TEST_F(ServicesTest, DeadlinesReachTheEngineAndAreNeverInfinite) {
  std::vector<absl::Duration> remaining;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    remaining.push_back(call.request.deadline - Clock::Monotonic().Now());
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  ASSERT_TRUE(Generate(Prompt()).status.ok());
  grpc::ClientContext context;  // without a deadline
  const auto reader = stub_->Generate(&context, Prompt());
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  ASSERT_EQ(remaining.size(), 2u);
  // 30 s were asked for; gRPC carries a deadline over two clocks, so what comes
  // is near that, and far from the hour that no deadline means.
  EXPECT_LE(remaining[0], absl::Minutes(1));
  EXPECT_GT(remaining[0], absl::ZeroDuration());
  EXPECT_LE(remaining[1], absl::Hours(1));
  EXPECT_GT(remaining[1], absl::Minutes(30));
}

// Rows of a score: logprob -(position + 1), digest of bytes equal to position.
SliceResult ScoredRows(int64_t begin, int64_t end, int64_t num_tokens) {
  SliceResult outcome;
  for (int64_t i = begin; i < end; ++i) {
    outcome.score_logprobs.push_back(i + 1 < num_tokens ? -(i + 1.0f) : 0.0f);
    outcome.logits_digests.emplace_back();
    outcome.logits_digests.back().fill(static_cast<uint8_t>(i));
  }
  return outcome;
}

TEST_F(ServicesTest, ScoreSumsAndHashesInOrderOfPosition) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    EXPECT_EQ(call.request.kind, WorkKind::kScore);
    call.sink.OnRows(0, ScoredRows(0, 1, 3));
    call.sink.OnRows(1, ScoredRows(1, 3, 3));
    RequestUsage usage;
    usage.prompt_tokens = 3;
    call.sink.OnFinished(absl::OkStatus(), usage);
  });
  v1::ScoreRequest request;
  request.set_text("abc");
  const auto score = client_->Score(request);
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_EQ(score->num_tokens(), 3);
  EXPECT_THAT(score->logprobs(), ElementsAre(-1.0f, -2.0f));
  EXPECT_EQ(score->nll(), 3.0);
  EXPECT_EQ(score->perplexity(), std::exp(1.5));
  std::vector<uint8_t> digests;
  for (uint8_t i = 0; i < 3; ++i) digests.insert(digests.end(), 32, i);
  EXPECT_EQ(score->logits_sha256(), Sha256Hex(Sha256Of(digests)));
  EXPECT_EQ(score->usage().prompt_tokens(), 3);
}

TEST_F(ServicesTest, AScoreWithMissingRowsIsAnErrorNotAHash) {
  const std::vector<std::pair<int64_t, int64_t>> faults = {{1, 3}, {0, 2}};
  for (const auto& [begin, end] : faults) {
    engine_.SetScript([begin = begin, end = end](const FakeEngine::Call& call) {
      call.sink.OnRows(begin, ScoredRows(begin, end, 3));
      call.sink.OnFinished(absl::OkStatus(), {});
    });
    v1::ScoreRequest request;
    request.set_text("abc");
    EXPECT_EQ(client_->Score(request).status().code(),
              absl::StatusCode::kInternal);
  }
}

TEST_F(ServicesTest, EmbedPoolsAndNormalizes) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    SliceResult outcome;
    outcome.hidden = {1, 2, 3, 3, 4, 0};  // two rows of model_dim 3
    call.sink.OnRows(0, outcome);
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  v1::EmbedRequest request;
  request.mutable_tokens()->add_ids(65);
  request.mutable_tokens()->add_ids(66);
  EXPECT_THAT(client_->Embed(request)->embedding(), ElementsAre(2, 3, 1.5));
  request.set_pooling(v1::POOLING_LAST);
  EXPECT_THAT(client_->Embed(request)->embedding(), ElementsAre(3, 4, 0));
  request.set_normalize(true);
  EXPECT_THAT(client_->Embed(request)->embedding(),
              ElementsAre(FloatEq(0.6f), FloatEq(0.8f), 0));
}

TEST_F(ServicesTest, TokenizeAndDetokenize) {
  v1::TokenizeRequest tokenize;
  tokenize.set_text("a<|im_end|>");
  EXPECT_THAT(client_->Tokenize(tokenize)->ids(), ElementsAre('a', 258));
  tokenize.set_no_parse_special(true);
  tokenize.set_add_special(true);
  EXPECT_EQ(client_->Tokenize(tokenize)->ids_size(), 12);
  v1::DetokenizeRequest detokenize;
  detokenize.add_ids('a');
  detokenize.add_ids(258);
  EXPECT_EQ(client_->Detokenize(detokenize)->text(), "a<|im_end|>");
  detokenize.set_skip_special(true);
  EXPECT_EQ(client_->Detokenize(detokenize)->text(), "a");
  detokenize.add_ids(1000);
  EXPECT_THAT(std::string(client_->Detokenize(detokenize).status().message()),
              HasSubstr("ids[2]: is 1000; must be from 0 to 258"));
}

TEST_F(ServicesTest, TheCallsIdComesBackOrOneOfTheServers) {
  const auto id_of = [&](const std::string& sent) {
    grpc::ClientContext context;
    if (!sent.empty()) context.AddMetadata("x-request-id", sent);
    v1::Model model;
    EXPECT_TRUE(stub_->GetModel(&context, {}, &model).ok());
    const auto& metadata = context.GetServerInitialMetadata();
    const auto found = metadata.find("x-request-id");
    if (found == metadata.end()) return std::string();
    return std::string(found->second.data(), found->second.size());
  };
  EXPECT_EQ(id_of("mine-7"), "mine-7");
  EXPECT_THAT(id_of("not an id"), StartsWith("r"));
  EXPECT_THAT(id_of(""), StartsWith("r"));
}

TEST_F(ServicesTest, GetModelReadsTheFileOnlyWhenAsked) {
  const auto model = client_->GetModel({});
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->name(), "tiny");
  EXPECT_EQ(model->num_kv_heads(), 2);
  EXPECT_EQ(model->served_context_len(), 24);
  EXPECT_TRUE(model->has_chat_template());
  EXPECT_EQ(model->sha256(), "");
  v1::GetModelRequest request;
  request.set_with_sha256(true);
  EXPECT_EQ(client_->GetModel(request)->sha256(), TestSha256());
  request.set_model("other");
  EXPECT_EQ(client_->GetModel(request).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace headwise
