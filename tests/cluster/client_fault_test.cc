// What callers do to a cluster: ask for too much, give up, read slowly, leave.
// The model is tiny, so a step takes less than a millisecond.

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kMaxContext = 1 << 16;
// "At once", on a machine that does much else.
constexpr absl::Duration kAtOnce = absl::Seconds(2);
// Until a mebibyte of tokens has come, on such a machine.
constexpr absl::Duration kVerySlow = absl::Minutes(4);

class ClientFaultTest : public ServedCluster {
 protected:
  void Serve(const std::vector<std::string>& flags, int num_workers = 2) {
    UseTinyModel(kMaxContext);
    ASSERT_FALSE(HasFatalFailure());
    StartServing(num_workers, flags);
  }

  std::unique_ptr<v1::Inference::Stub> OverItsOwnConnection() const {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // Nor a client's own buffers of megabytes.
    args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
    return v1::Inference::NewStub(grpc::CreateCustomChannel(
        address_, grpc::InsecureChannelCredentials(), args));
  }

  // The end of one request that nobody reads with care, and how long it took.
  grpc::Status Ask(const v1::GenerateRequest& request, absl::Duration* took,
                   absl::Duration timeout = kReady) {
    const absl::Time begin = Clock::Monotonic().Now();
    const HeardAnswer answer =
        history_.Generate(*inference_, request, {.timeout = timeout});
    *took = Since(begin);
    return *answer.end;
  }
};

// The number after `words` in a message; -1: none.
int64_t NumberAfter(const std::string& message, const std::string& words) {
  const size_t at = message.find(words);
  if (at == std::string::npos) return -1;
  const std::string rest = message.substr(at + words.size());
  int64_t number = -1;
  const bool read = absl::SimpleAtoi(
      rest.substr(0, rest.find_first_not_of("0123456789")), &number);
  return read ? number : -1;
}

// Case 33.
TEST_F(ClientFaultTest, APromptThatCanNeverFitIsRefusedAtOnceWithTheNumbers) {
  Serve({"--kv-bytes", "1048576"});
  ASSERT_FALSE(HasFatalFailure());
  const auto busy = Begin(Request(2000));
  absl::Duration took;
  const grpc::Status status = Ask(PromptOf(20'000, 10), &took);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE)
      << status.error_message();
  EXPECT_LT(took, kAtOnce);
  EXPECT_FALSE(HasRetryInfo(status)) << "it would be refused again";
  const std::string& message = status.error_message();
  EXPECT_THAT(message, HasSubstr("a context of 20001 tokens"));
  EXPECT_GT(NumberAfter(message, "max_new_tokens 1), "),
            NumberAfter(message, "available are "));
  const int64_t longest =
      NumberAfter(message, "the longest context that fits is ");
  ASSERT_GT(longest, 16) << message;
  busy->Cancel();
  // It fits, and one token more does not.
  EXPECT_TRUE(Ask(PromptOf(longest - 1, 1), &took).ok());
  EXPECT_EQ(Ask(PromptOf(longest, 1), &took).error_code(),
            grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(
      Metric("headwise_admission_rejected_total", "reason=\"memory_ever\""),
      2.0);
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
}

// Case 34: those that fit later wait in order, to their deadline at most; the
// queue has an end, and who comes after it hears when to come again.
TEST_F(ClientFaultTest, PromptsThatDoNotFitNowWaitOrAreToldWhenToComeAgain) {
  Serve({"--kv-bytes", "1048576"});
  ASSERT_FALSE(HasFatalFailure());
  absl::Duration took;
  const grpc::Status refused = Ask(PromptOf(20'000, 1), &took);
  const int64_t longest =
      NumberAfter(refused.error_message(), "the longest context that fits is ");
  ASSERT_GT(longest, 2000);
  // Two of these never fit together.
  const v1::GenerateRequest big = PromptOf(16, static_cast<int>(longest) - 16);
  const auto first = Begin(big);
  const grpc::Status late = Ask(PromptOf(16, static_cast<int>(longest) - 16),
                                &took, absl::Milliseconds(300));
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED)
      << "it waited, and no longer than it may";
  EXPECT_LT(took, absl::Seconds(5));
  // 896 of one tenant wait, of 1,024 in all; the next one is refused. They come
  // over connections of their own, since one has 1,024 streams at most.
  std::vector<std::unique_ptr<Stream>> waiting;
  for (int connection = 0; connection < 2; ++connection) {
    const auto stub = OverItsOwnConnection();
    for (int i = 0; i < 448; ++i) {
      waiting.push_back(std::make_unique<Stream>(*stub, big, kReady));
    }
  }
  ASSERT_TRUE(WaitUntil(
      [this] { return Metric("headwise_requests_waiting") == 896; }, kReady))
      << Metric("headwise_requests_waiting");
  grpc::Status full;
  EXPECT_TRUE(WaitUntil(
      [&] {
        full = Ask(PromptOf(16, 1), &took, absl::Seconds(1));
        return full.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
      },
      kReady))
      << full.error_message();
  EXPECT_TRUE(HasRetryInfo(full));
  EXPECT_LT(took, kAtOnce);
  for (const auto& stream : waiting) stream->Cancel();
  waiting.clear();
  first->Cancel();
  // And then there is room.
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
  EXPECT_TRUE(Ask(PromptOf(16, 1), &took).ok());
}

// Case 38.
TEST_F(ClientFaultTest, AbsurdCountsAreRefusedAtOnceByFieldValueAndLimit) {
  Serve({});
  ASSERT_FALSE(HasFatalFailure());
  struct Absurd {
    const char* field;
    v1::GenerateRequest request;
  };
  std::vector<Absurd> all(5);
  for (Absurd& one : all) one.request = Request(1);
  all[0].field = "options.stop";
  for (int i = 0; i < 100'000; ++i) {
    all[0].request.mutable_options()->add_stop(absl::StrCat("stop ", i));
  }
  all[1].field = "options.max_tokens";
  all[1].request.mutable_options()->set_max_tokens(2147483647);
  all[2].field = "options.max_tokens";
  all[2].request.mutable_options()->set_max_tokens(-2147483647 - 1);
  all[3].field = "options.top_logprobs";
  all[3].request.mutable_options()->set_top_logprobs(1'000'000);
  all[4].field = "options.stop";
  all[4].request.mutable_options()->add_stop(std::string(1'000'000, 'x'));
  for (const Absurd& one : all) {
    // Of several: what a machine that is busy adds to one is not the server's.
    absl::Duration best = absl::InfiniteDuration();
    for (int i = 0; i < 5; ++i) {
      absl::Duration took;
      const grpc::Status status = Ask(one.request, &took);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
          << one.field << ": " << status.error_message();
      EXPECT_THAT(status.error_message(), HasSubstr(one.field));
      best = std::min(best, took);
    }
    EXPECT_LT(best, absl::Milliseconds(250)) << one.field;
  }
  EXPECT_EQ(Metric("headwise_tokens_total", "kind=\"prompt\""), 0.0)
      << "no work was done";
}

// Case 40. Waiting, in prefill, after the first token, in the middle, at the
// end: a quarter of them runs to the end and is right.
TEST_F(ClientFaultTest, HundredsThatCancelAtEveryStageLeaveNothingBehind) {
  Serve({"--kv-bytes", "16777216"});
  ASSERT_FALSE(HasFatalFailure());
  constexpr int kNumKinds = 4;
  constexpr int kNumThreads = 16;
  constexpr int kPerThread = 24;
  for (int kind = 0; kind < kNumKinds; ++kind) {
    AskUndisturbed(Request(20 + 20 * kind, static_cast<uint64_t>(kind)));
  }
  std::vector<std::thread> callers;
  for (int thread = 0; thread < kNumThreads; ++thread) {
    callers.emplace_back([&, thread] {
      std::mt19937 random(static_cast<uint32_t>(thread));
      for (int i = 0; i < kPerThread; ++i) {
        const int kind = i % kNumKinds;
        const int num_tokens = 20 + 20 * kind;
        // Before any token comes (by a deadline that is too short), at the
        // first, in between, or never.
        const size_t stage = random() % 4;
        const size_t last =
            stage == 1 ? 1 : 1 + random() % static_cast<size_t>(num_tokens);
        const absl::Duration timeout =
            stage == 0 ? absl::Microseconds(random() % 20'000) : kReady;
        history_.Generate(
            *inference_, Request(num_tokens, static_cast<uint64_t>(kind)),
            {.timeout = timeout,
             .on_token = [&](size_t number, grpc::ClientContext& context) {
               if (stage != 3 && number == last) context.TryCancel();
             }});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
  EXPECT_EQ(Metric("headwise_requests_running"), 0.0);
  EXPECT_EQ(Metric("headwise_requests_waiting"), 0.0);
  EXPECT_THAT(history_.CheckTokens(fault_free_), IsEmpty());
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
  // Not CheckMetrics: a call that its caller gives up before it is on its way
  // is none of the server's.
  EXPECT_GE(Metric("headwise_requests_total", "code=\"OK\""),
            kNumThreads * kPerThread / 8.0);
  EXPECT_EQ(Metric("headwise_requests_total", "code=\"INTERNAL\""), -1.0);
}

// Case 41. Steps are counted once nobody has work: the counters stand still.
TEST_F(ClientFaultTest, NoStepRunsAfterTheDeadlinesOfAll) {
  Serve({});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest endless = Request(kMaxContext - 100);
  std::vector<std::thread> callers;
  for (const int ms : {1, 3, 10, 30, 100, 300, 1000, 3000, 10000}) {
    callers.emplace_back([&, ms] {
      absl::Duration took;
      const absl::Duration limit = absl::Milliseconds(ms);
      const grpc::Status status = Ask(endless, &took, limit);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED)
          << ms << " ms: " << status.error_message();
      EXPECT_GE(took, limit);
      EXPECT_LT(took, limit + absl::Seconds(3)) << ms << " ms";
    });
  }
  for (std::thread& caller : callers) caller.join();
  const absl::Time over = Clock::Monotonic().Now();
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(3)));
  // Two steps may be on their way, and one more tells workers what is free.
  double steps = -1.0;
  EXPECT_TRUE(WaitUntil(
      [&] {
        const double before =
            std::exchange(steps, Metric("headwise_steps_total"));
        absl::SleepFor(absl::Milliseconds(300));
        return steps == before;
      },
      absl::Seconds(5)));
  EXPECT_GT(steps, 0.0);
  EXPECT_EQ(Metric("headwise_requests_running"), 0.0);
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(Metric("headwise_steps_total"), steps)
      << "work went on " << Since(over) << " after the last deadline";
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
}

// Case 42.
TEST_F(ClientFaultTest, ASlowReaderIsLeftAndOthersDoNotNotice) {
  Serve({"--kv-bytes", "268435456"}, 1);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(300);
  AskUndisturbed(request);
  const auto stub = OverItsOwnConnection();
  std::vector<std::unique_ptr<Stream>> slow;
  for (int i = 0; i < 4; ++i) {
    v1::GenerateRequest long_answer = PromptOf(16, kMaxContext - 1000);
    long_answer.mutable_options()->set_top_logprobs(20);
    long_answer.mutable_options()->set_logprobs(true);
    slow.push_back(std::make_unique<Stream>(*stub, long_answer, kVerySlow));
    slow.back()->WaitForText();  // and nothing after it
  }
  for (int i = 0; i < 5; ++i) {
    const HeardAnswer answer = AskUntilWhole(request, {});
    EXPECT_LT(answer.ended_at - answer.asked_at, absl::Seconds(30));
  }
  EXPECT_TRUE(WaitUntil(
      [this] {
        return Metric("headwise_requests_total",
                      "code=\"RESOURCE_EXHAUSTED\"") == 4.0;
      },
      kVerySlow));
  EXPECT_THAT(history_.CheckTokens(fault_free_), IsEmpty());
  for (const auto& stream : slow) {
    const grpc::Status end = stream->End();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << end.error_message();
    EXPECT_THAT(end.error_message(), HasSubstr("too slow"));
  }
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
}

}  // namespace
}  // namespace headwise
