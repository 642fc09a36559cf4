// A coordinator and workers as real processes on loopback, and what becomes of
// a stream when one of them dies, freezes or leaves.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/files/test_titans.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

class ProcessClusterTest : public ServedCluster {
 protected:
  void StartCluster(int num_workers) {
    StartServing(num_workers, {"--kv-bytes", "268435456", "--drain", "60"});
  }

  // One stream of `max_tokens`; `on_text` after each message with text.
  grpc::Status Generate(int max_tokens, std::string* text,
                        const std::function<void()>& on_text = nullptr) {
    v1::GenerateRequest request;
    request.set_text("The capital of France is");
    request.mutable_options()->set_max_tokens(max_tokens);
    request.mutable_options()->set_ignore_eos(true);
    const auto context = Context(kReady);
    const auto stream = inference_->Generate(context.get(), request);
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
      if (!response.has_generated()) continue;
      *text += response.generated().text();
      if (on_text) on_text();
    }
    return stream->Finish();
  }

  // The text of a stream in which `fault` strikes once it flows; and how long
  // it stood still at most after that.
  std::string GenerateWithFault(int max_tokens,
                                const std::function<void()>& fault,
                                absl::Duration* pause) {
    absl::Time last = absl::InfiniteFuture();
    *pause = absl::ZeroDuration();
    std::string text;
    const grpc::Status status = Generate(max_tokens, &text, [&] {
      if (last == absl::InfiniteFuture()) {
        fault();
      } else {
        *pause = std::max(*pause, absl::Now() - last);
      }
      last = absl::Now();
    });
    EXPECT_TRUE(status.ok()) << status.error_message() << coordinator_->Log();
    return text;
  }
};

TEST_F(ProcessClusterTest, KilledWorkerCostsAPauseAndNotALetter) {
  constexpr int kNumTokens = 100;
  StartCluster(3);
  ASSERT_FALSE(HasFatalFailure());
  std::string expected;
  ASSERT_TRUE(Generate(kNumTokens, &expected).ok());
  absl::Duration pause;
  const std::string text = GenerateWithFault(
      kNumTokens, [&] { workers_[1]->Signal(SIGKILL); }, &pause);
  EXPECT_EQ(text, expected) << "the same bits on any cluster";
  EXPECT_LT(pause, absl::Seconds(15)) << "to load the model, on a busy machine";
  EXPECT_EQ(Metric("headwise_rebuilds_total"), 1);
  ASSERT_TRUE(WaitForWorldSize(2)) << coordinator_->Log();
}

// A tiny titans model, whose answers hang on all their tokens.
class TitansClusterTest : public ProcessClusterTest {
 protected:
  void SetUp() override {
    model_path_ = folder_.Path("titans");
    ASSERT_TRUE(std::filesystem::create_directory(model_path_));
    ASSERT_TRUE(
        WriteTinyFolder(TinyTitansOptions(TitansVariant::kMag), 1, model_path_)
            .ok());
  }
};

// The memories that died with a worker are made again of the tokens.
TEST_F(TitansClusterTest, KilledWorkerLeavesTheSameAnswerToTheRest) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  constexpr int kNumTokens = 1000;
  std::string expected;
  const grpc::Status first = Generate(kNumTokens, &expected);
  ASSERT_TRUE(first.ok()) << first.error_message();
  EXPECT_FALSE(expected.empty());
  absl::Duration pause;
  const std::string text = GenerateWithFault(
      kNumTokens, [&] { workers_[1]->Signal(SIGKILL); }, &pause);
  EXPECT_EQ(text, expected);
  EXPECT_EQ(Metric("headwise_rebuilds_total"), 1);
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
}

TEST_F(ProcessClusterTest, FrozenWorkerIsFencedInTimeAndMayComeBack) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  constexpr int kNumTokens = 100;
  std::string expected;
  ASSERT_TRUE(Generate(kNumTokens, &expected).ok());
  absl::Duration pause;
  EXPECT_EQ(GenerateWithFault(
                kNumTokens, [&] { workers_[0]->Signal(SIGSTOP); }, &pause),
            expected);
  // A collective gives up after 2.5 s, a probe after 1 s; the rest is to load
  // the model, on a loaded machine.
  EXPECT_LT(pause, absl::Seconds(18));
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
  workers_[0]->Signal(SIGCONT);
  EXPECT_TRUE(WaitForWorldSize(2)) << coordinator_->Log();
  std::string text;
  EXPECT_TRUE(Generate(kNumTokens, &text).ok()) << coordinator_->Log();
  EXPECT_EQ(text, expected);
}

TEST_F(ProcessClusterTest, CancelledStreamFreesItsKv) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  v1::GenerateRequest request;
  request.set_text("Once upon a time");
  request.mutable_options()->set_max_tokens(4000);
  request.mutable_options()->set_ignore_eos(true);
  const auto context = Context(kReady);
  const auto stream = inference_->Generate(context.get(), request);
  v1::GenerateResponse response;
  while (stream->Read(&response) && !response.has_generated()) {
  }
  EXPECT_GT(Metric("headwise_kv_bytes"), 0);
  context->TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(10)));
}

TEST_F(ProcessClusterTest, AGroupThatGrowsIsNotCountedAsLost) {
  StartCluster(1);
  ASSERT_FALSE(HasFatalFailure());
  StartWorker("w1");
  ASSERT_TRUE(WaitForWorldSize(2)) << coordinator_->Log();
  EXPECT_EQ(Metric("headwise_groups_lost_total"), -1);
  workers_[1]->Signal(SIGTERM);
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
  EXPECT_EQ(Metric("headwise_groups_lost_total"), 1);
}

TEST_F(ProcessClusterTest, HeadsMapSaysAtOnceWhyNoGroupStands) {
  StartServer(/*min_workers=*/2);
  ASSERT_FALSE(HasFatalFailure());
  const auto heads =
      ChildProcess::Start({std::string(HEADWISE_BINARY_DIR) + "/headwise",
                           "heads", "map", "--server", address_},
                          folder_.Path("heads.log"));
  ASSERT_TRUE(heads.ok()) << heads.status();
  EXPECT_EQ((*heads)->Wait(kReady).value_or(-1), 1);
  EXPECT_THAT((*heads)->Log(), testing::HasSubstr("needed 2"));
  const std::vector<std::string> calls =
      absl::StrSplit(coordinator_->Log(), "api=get_head_map");
  EXPECT_EQ(calls.size(), 2u) << "asked more than once";
}

TEST_F(ProcessClusterTest, TermLeavesCleanly) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  workers_[0]->Signal(SIGTERM);
  EXPECT_EQ(workers_[0]->Wait(kReady).value_or(-1), 0) << workers_[0]->Log();
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
  coordinator_->Signal(SIGTERM);
  EXPECT_EQ(coordinator_->Wait(kReady).value_or(-1), 0) << coordinator_->Log();
}

TEST_F(ProcessClusterTest, TermLetsAStreamEnd) {
  constexpr int kNumTokens = 200;
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  std::string expected;
  ASSERT_TRUE(Generate(kNumTokens, &expected).ok());
  bool told = false;
  std::string text;
  const grpc::Status status = Generate(kNumTokens, &text, [&] {
    if (!std::exchange(told, true)) coordinator_->Signal(SIGTERM);
  });
  EXPECT_TRUE(status.ok()) << status.error_message() << coordinator_->Log();
  EXPECT_EQ(text, expected);
  EXPECT_EQ(coordinator_->Wait(kReady).value_or(-1), 0) << coordinator_->Log();
}

// From /proc/PID/status, where the mask is a hexadecimal number.
bool BlocksTerm(const ChildProcess& process) {
  std::ifstream status("/proc/" + std::to_string(process.pid()) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    absl::string_view mask = line;
    uint64_t bits = 0;
    if (absl::ConsumePrefix(&mask, "SigBlk:") &&
        absl::SimpleHexAtoi(absl::StripAsciiWhitespace(mask), &bits)) {
      return (bits >> (SIGTERM - 1) & 1) != 0;
    }
  }
  return false;
}

TEST_F(ProcessClusterTest, ServeCanBeEndedWhileItWaitsForWorkers) {
  // Nobody listens on port 1: the wait would be ten minutes.
  const auto serve = ChildProcess::Start(
      {std::string(HEADWISE_BINARY_DIR) + "/headwise", "serve", "--model",
       ModelPath(), "--workers", "127.0.0.1:1", "--listen", "127.0.0.1:0",
       "--metrics-listen", ""},
      folder_.Path("serve.log"));
  ASSERT_TRUE(serve.ok()) << serve.status();
  ASSERT_TRUE(WaitUntil([&] { return BlocksTerm(**serve); }, kReady))
      << (*serve)->Log();
  (*serve)->Signal(SIGTERM);
  EXPECT_EQ((*serve)->Wait(absl::Seconds(20)).value_or(-1), 128 + SIGTERM)
      << (*serve)->Log();
}

// 192.0.2.0/24 is for documentation.
TEST_F(ProcessClusterTest, WorkerThatItsCoordinatorCantReachDoesNotStart) {
  address_ = "192.0.2.1:7600";
  StartWorker("w0");
  EXPECT_EQ(workers_[0]->Wait(kReady).value_or(-1), 2);
  EXPECT_THAT(workers_[0]->Log(), testing::HasSubstr("--advertise-host"));
}

TEST_F(ProcessClusterTest, SecondWorkerOfANameReplacesTheFirst) {
  StartCluster(1);
  ASSERT_FALSE(HasFatalFailure());
  StartWorker("w0");
  EXPECT_EQ(workers_[0]->Wait(kReady).value_or(-1), 4) << workers_[0]->Log();
  ASSERT_TRUE(WaitForWorldSize(1));
  std::string text;
  EXPECT_TRUE(WaitUntil([&] { return Generate(4, &text).ok(); }, kReady))
      << coordinator_->Log();
}

}  // namespace
}  // namespace headwise
