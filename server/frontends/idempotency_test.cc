// Calls under one idempotency key, over a channel and with an engine that
// follows a script.

#include <atomic>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/answer_book.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class IdempotencyTest : public ServicesTest {
 protected:
  // One call under a key.
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
    std::string text;
    int num_tokens = 0;
    int num_finished = 0;

    // False at the end.
    bool Read() {
      v1::GenerateResponse event;
      if (!reader->Read(&event)) return false;
      text += event.generated().text();
      num_tokens += event.generated().tokens_size();
      num_finished += event.has_finished() ? 1 : 0;
      return true;
    }
    absl::Status End() {
      while (Read()) {
      }
      const grpc::Status status = reader->Finish();
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
  };

  std::unique_ptr<Call> Start(const v1::GenerateRequest& request,
                              const std::string& key,
                              const std::string& tenant = "") {
    auto call = std::make_unique<Call>();
    call->context.set_deadline(std::chrono::system_clock::now() +
                               std::chrono::seconds(30));
    call->context.AddMetadata(kIdempotencyKey, key);
    if (!tenant.empty()) call->context.AddMetadata("x-headwise-tenant", tenant);
    call->reader = stub_->Generate(&call->context, request);
    return call;
  }

  // Says "abcdef", and waits after "abc" until it may go on.
  void SayInTwoParts() {
    engine_.SetScript([this](const FakeEngine::Call& call) {
      ++num_runs_;
      RequestUsage usage;
      for (const char c : std::string("abcdef")) {
        if (c == 'd') go_on_.WaitForNotification();
        ++usage.generated_tokens;
        call.sink.OnToken(Token(c));
      }
      call.sink.OnFinished(call.is_cancelled()
                               ? absl::CancelledError("cancelled")
                               : absl::OkStatus(),
                           usage);
    });
  }
  void SayOnce(absl::Status status) {
    engine_.SetScript([this, status](const FakeEngine::Call& call) {
      ++num_runs_;
      call.sink.OnToken(Token('a'));
      call.sink.OnFinished(status, {});
    });
  }

  std::atomic<int> num_runs_ = 0;
  absl::Notification go_on_;
};

TEST_F(IdempotencyTest, ARetryHearsTheSameAnswerAndTheWorkIsDoneOnce) {
  SayInTwoParts();
  const auto first = Start(Prompt(), "k");
  while (first->num_tokens < 3) ASSERT_TRUE(first->Read());
  const auto second = Start(Prompt(), "k");  // while it works
  while (second->num_tokens < 3) ASSERT_TRUE(second->Read());
  EXPECT_EQ(second->text, "abc");
  go_on_.Notify();
  EXPECT_TRUE(first->End().ok());
  EXPECT_TRUE(second->End().ok());
  EXPECT_EQ(first->text, "abcdef");
  EXPECT_EQ(second->text, "abcdef");
  const auto third = Start(Prompt(), "k");  // when it is done
  EXPECT_TRUE(third->End().ok());
  EXPECT_EQ(third->text, "abcdef");
  EXPECT_EQ(third->num_tokens, 6);
  EXPECT_EQ(third->num_finished, 1);
  EXPECT_EQ(num_runs_, 1);
}

TEST_F(IdempotencyTest, WorkGoesOnWhileItsLostCallerComesBack) {
  SayInTwoParts();
  const auto first = Start(Prompt(), "k");
  while (first->num_tokens < 2) ASSERT_TRUE(first->Read());
  first->context.TryCancel();
  EXPECT_FALSE(first->End().ok());
  v1::GenerateRequest rest = Prompt();
  rest.mutable_received()->add_ids('a');
  rest.mutable_received()->add_ids('b');
  const auto second = Start(rest, "k");
  ASSERT_TRUE(second->Read());
  go_on_.Notify();
  EXPECT_TRUE(second->End().ok());
  EXPECT_EQ(second->text, "cdef");
  EXPECT_EQ(second->num_tokens, 4);
  EXPECT_EQ(num_runs_, 1);
}

TEST_F(IdempotencyTest, AnotherRequestUnderTheKeyIsRefused) {
  SayOnce(absl::OkStatus());
  EXPECT_TRUE(Start(Prompt(), "k")->End().ok());
  v1::GenerateRequest other = Prompt();
  other.mutable_options()->mutable_sampling()->set_seed(7);
  const absl::Status status = Start(other, "k")->End();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("\"k\" was that of another request"));
  EXPECT_EQ(num_runs_, 1);
}

TEST_F(IdempotencyTest, AnotherTenantsKeyIsAnotherKey) {
  SayOnce(absl::OkStatus());
  EXPECT_TRUE(Start(Prompt(), "k", "a")->End().ok());
  v1::GenerateRequest other = Prompt();
  other.set_text("another");
  EXPECT_TRUE(Start(other, "k", "b")->End().ok());
  EXPECT_EQ(num_runs_, 2);
}

TEST_F(IdempotencyTest, AnAnswerThatFailedIsWorkedOnAgain) {
  SayOnce(absl::UnavailableError("the group is lost"));
  EXPECT_EQ(Start(Prompt(), "k")->End().code(), absl::StatusCode::kUnavailable);
  SayOnce(absl::OkStatus());
  const auto again = Start(Prompt(), "k");
  EXPECT_TRUE(again->End().ok());
  EXPECT_EQ(again->text, "a");
  EXPECT_EQ(num_runs_, 2);
}

TEST_F(IdempotencyTest, KeysThatCantBeAreRefused) {
  SayOnce(absl::OkStatus());
  for (const std::string& key :
       {std::string(65, 'k'), std::string("a b"), std::string("a/b")}) {
    const absl::Status status = Start(Prompt(), key)->End();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(kIdempotencyKey));
  }
  EXPECT_EQ(num_runs_, 0);
}

// Nothing waits for a caller who may come back when the server ends.
TEST_F(IdempotencyTest, ShutdownDoesNotLinger) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    call.sink.OnToken(Token('a'));
    call.wait_for_cancel();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
  });
  const auto call = Start(Prompt(), "k");
  ASSERT_TRUE(call->Read());
  frontends_->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(call->End().ok());
}

}  // namespace
}  // namespace headwise
