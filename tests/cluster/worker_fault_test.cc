// Workers that do not fit, and clocks that jump under all of them.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "model/files/test_model_writer.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/wall_clock.h"

namespace headwise {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

class WorkerFaultTest : public ServedCluster {
 protected:
  // A tiny model of that seed as `folder`/tiny.gguf.
  void WriteModel(const std::string& folder, uint64_t seed) {
    ASSERT_TRUE(std::filesystem::create_directory(folder_.Path(folder)));
    TinyModelOptions options;
    options.max_context_len = 1 << 16;
    options.seed = seed;
    ASSERT_TRUE(
        WriteFile(folder_.Path(folder) + "/tiny.gguf", WriteTinyGguf(options))
            .ok());
  }

  // A worker that finds the model's path below a folder of its own.
  void StartWorkerIn(const std::string& folder, const std::string& name) {
    StartWorkerWith(name, {.flags = {"--model-root", folder_.Path(folder)}});
  }

  void StartServerIn(const std::string& folder, int min_workers) {
    model_path_ = "tiny.gguf";
    StartServer(min_workers, {.prefix = {"/usr/bin/env",
                                         "--chdir=" + folder_.Path(folder)}});
  }
};

// Case 10. The reason is told to callers too, until a worker comes that fits.
TEST_F(WorkerFaultTest, AWorkerWithAnotherModelIsRefusedWithBothHashes) {
  WriteModel("right", 1);
  WriteModel("wrong", 2);
  StartServerIn("right", 2);
  ASSERT_FALSE(HasFatalFailure());
  StartWorkerIn("wrong", "w0");
  StartWorkerIn("right", "w1");
  const std::string both = "has SHA-256 [0-9a-f]+, expected [0-9a-f]+";
  ASSERT_TRUE(WaitUntil(
      [&] { return testing::Value(coordinator_->Log(), ContainsRegex(both)); },
      kReady))
      << Logs();
  EXPECT_TRUE(WaitUntil(
      [&] {
        return testing::Value(
            coordinator_->Log(),
            HasSubstr("w0 could not prepare: left out for 30s"));
      },
      kReady))
      << Logs();
  v1::HeadMap map;
  EXPECT_TRUE(WaitUntil(
      [&] {
        const grpc::Status why = admin_->GetHeadMap(Context().get(), {}, &map);
        return testing::Value(why.error_message(),
                              HasSubstr("w0 is left out after it failed"));
      },
      kReady))
      << Logs();
  StartWorkerIn("right", "w2");
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  AskUntilWhole(Request(10), {});
  EXPECT_TRUE(workers_[0]->IsRunning()) << "it may serve another model";
}

// Case 24. The wall clock of all three processes jumps in the middle of an
// answer: an hour ahead, and two hours back.
TEST_F(WorkerFaultTest, AWallClockThatJumpsByAnHourChangesNothing) {
  UseTinyModel();
  WallClock clock(folder_.Path("clock"));
  StartServer(2, {.prefix = clock.prefix()});
  ASSERT_FALSE(HasFatalFailure());
  for (const char* name : {"w0", "w1"}) {
    StartWorkerWith(name, {.prefix = clock.prefix()});
  }
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  const v1::GenerateRequest request = Request(200);
  AskUndisturbed(request);
  const uint64_t epoch = MembershipEpoch();
  for (const absl::Duration shift : {absl::Hours(1), -absl::Hours(1)}) {
    SCOPED_TRACE(absl::FormatDuration(shift));
    const HeardAnswer answer =
        AskUntilWhole(request, {.on_token = [&](size_t number, auto&) {
                        if (number == 50) clock.Shift(shift);
                      }});
    EXPECT_LT(answer.ended_at - answer.asked_at, absl::Seconds(30));
    // Longer than the 3 s after which a silent worker is taken for dead.
    EXPECT_FALSE(
        WaitUntil([&] { return MembershipEpoch() != epoch; }, absl::Seconds(4)))
        << Logs();
    // A deadline is as far away as it says.
    const HeardAnswer late = history_.Generate(
        *inference_, Request(60'000), {.timeout = absl::Milliseconds(700)});
    EXPECT_EQ(late.end->error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_TRUE(WaitForKvFreed(absl::Seconds(10)));
  }
  EXPECT_EQ(Metric("headwise_groups_lost_total"), -1.0) << "none";
  EXPECT_THAT(history_.CheckEnds(), testing::IsEmpty());
  // A drain lasts as long as its streams, and no longer than its limit.
  const auto busy = Begin(Request(60'000));
  coordinator_->Signal(SIGTERM);
  const absl::Time begin = Clock::Monotonic().Now();
  clock.Shift(-absl::Hours(2));
  EXPECT_EQ(coordinator_->Wait(kReady).value_or(-1), 0) << Logs();
  EXPECT_LT(Since(begin), absl::Seconds(30)) << "--drain is 5 s";
}

}  // namespace
}  // namespace headwise
