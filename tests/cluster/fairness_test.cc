// What a very long prompt and a flood cost the requests of others.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "proto/head_plan_codec.h"
#include "server/scheduler/row_costs.h"
#include "tests/cluster/fairness_fixture.h"

namespace headwise {
namespace {

// A request whose prompt is read, for as long as this lives.
class PromptBeingRead {
 public:
  PromptBeingRead(v1::Inference::Stub& stub, const v1::GenerateRequest& request)
      : thread_([this, &stub, &request] {
          const auto reader = stub.Generate(&context_, request);
          v1::GenerateResponse response;
          while (reader->Read(&response)) {
            absl::MutexLock lock(&mutex_);
            rows_.push_back(response.prefill().processed_tokens() - num_read_);
            num_read_ = response.prefill().processed_tokens();
          }
          status_ = reader->Finish();
        }) {}
  ~PromptBeingRead() {
    context_.TryCancel();
    thread_.join();
    EXPECT_EQ(status_.error_code(), grpc::StatusCode::CANCELLED)
        << "it ended before the others did: " << status_.error_message();
  }

  // How many of it each step had so far that had any.
  std::vector<int64_t> rows() const {
    absl::MutexLock lock(&mutex_);
    return rows_;
  }

 private:
  grpc::ClientContext context_;
  grpc::Status status_;  // of thread_
  mutable absl::Mutex mutex_;
  std::vector<int64_t> rows_ ABSL_GUARDED_BY(mutex_);
  int64_t num_read_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

// Case 35.
class LongPromptTest : public FairnessFixture {
 protected:
  // Every unit streams: else a million tokens are refused, since they would
  // take longer than the hour that a request may.
  void ServeAMillionTokens() {
    UseModelOfWeight();
    ASSERT_FALSE(HasFatalFailure());
    plan_ = FullPlan();
    for (UnitPolicy& unit : plan_.units) {
      unit = {.kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 256};
    }
    const std::string path = folder_.Path("plan");
    ASSERT_TRUE(WriteFile(path, EncodeHeadPlan(plan_)).ok());
    Serve({"--plan", path});
  }

  std::unique_ptr<PromptBeingRead> ReadAMillionTokens() {
    auto prompt = std::make_unique<PromptBeingRead>(*inference_, million_);
    EXPECT_TRUE(WaitUntil([&] { return !prompt->rows().empty(); }, kReady))
        << Logs();
    return prompt;
  }

  // Of each step, by how many rows of the prompt it had: RowCosts.
  std::vector<double> CostsOf(const std::vector<int64_t>& rows) {
    const auto model = Model::Open(model_path_);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return {};
    const RowCosts row_costs(
        KvGeometryOf((*model)->hyperparameters(), KvType::kFp16));
    std::vector<double> costs;
    int64_t begin = 0;
    for (const int64_t num_rows : rows) {
      const double mean = (row_costs.Of(&plan_, begin) +
                           row_costs.Of(&plan_, begin + num_rows - 1)) /
                          2;
      costs.push_back(static_cast<double>(num_rows) * mean);
      begin += num_rows;
    }
    return costs;
  }

  HeadPlan plan_;
  const v1::GenerateRequest million_ = PromptOf(1'000'000, 1);
};

TEST_F(LongPromptTest, FiftyChatsWaitLessThanTwiceAsLongBesideAMillionTokens) {
  ServeAMillionTokens();
  ASSERT_FALSE(HasFatalFailure());
  ExpectAtMost(
      2.0, [&] { return FiftyChats(); },
      [&] {
        auto prompt = ReadAMillionTokens();
        const double seconds = FiftyChats();
        prompt.reset();
        EXPECT_TRUE(WaitForKvFreed(kReady));
        return seconds;
      });
}

// So it waits for one step at most, of which the prompt has a quarter.
TEST_F(LongPromptTest, AnAnswerHasATokenInEachStepBesideAMillionTokens) {
  ServeAMillionTokens();
  ASSERT_FALSE(HasFatalFailure());
  const auto prompt = ReadAMillionTokens();
  const size_t begin = prompt->rows().size();
  ExpectATokenInEachStep(400);
  const std::vector<double> costs = CostsOf(prompt->rows());
  const std::vector<double> beside(costs.begin() + begin, costs.end());
  ASSERT_FALSE(beside.empty());
  EXPECT_LE(Median(beside), 1.01 * kStepRows / 4);
  EXPECT_GE(Median(beside), 0.9 * kStepRows / 4) << "the prompt goes on";
  EXPECT_LE(*std::max_element(costs.begin(), costs.end()),
            1.01 * kStepRows / 2);
}

// Case 37.
class FloodTest : public FairnessFixture {
 protected:
  static constexpr absl::Duration kDelay = absl::Milliseconds(5);

  // Steps take ten milliseconds and nearly no work: so what the callers
  // themselves do on this machine is no part of what they measure.
  void ServeOverASlowLink(const std::vector<std::string>& flags) {
    UseTinyModel();
    StartServerAndProxiedWorker(1, flags);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
    proxy_->SetFaults({.delay = kDelay});
  }

  // Runs while eight callers of one tenant ask again and again, whatever they
  // are told.
  double WithAFlood(const std::function<double()>& run) {
    std::atomic<bool> is_over = false;
    std::atomic<int> num_refused = 0;
    std::vector<std::thread> callers;
    for (int i = 0; i < 8; ++i) {
      callers.emplace_back([&, i] {
        while (!is_over) {
          const auto context = Context(kReady);
          context->AddMetadata("x-headwise-tenant", "flood");
          const auto reader =
              inference_->Generate(context.get(), Request(400, i));
          v1::GenerateResponse response;
          while (!is_over && reader->Read(&response)) {
          }
          if (is_over) context->TryCancel();
          num_refused += reader->Finish().error_code() ==
                         grpc::StatusCode::RESOURCE_EXHAUSTED;
          absl::SleepFor(absl::Milliseconds(20));
        }
      });
    }
    EXPECT_TRUE(WaitUntil([&] { return num_refused > 20; }, kReady));
    const double result = run();
    is_over = true;
    for (std::thread& caller : callers) caller.join();
    EXPECT_TRUE(WaitForKvFreed(kReady));
    return result;
  }
};

// Places for ten others and what the quota allows: without it the flood would
// have more of them.
TEST_F(FloodTest, OthersAreAsFastBesideAFloodThatItsQuotaRefuses) {
  const std::string path = folder_.Path("quotas.json");
  std::ofstream(path)
      << R"({"tenants": {"flood": {"running": 1, "waiting": 2}}})";
  ServeOverASlowLink({"--quotas", path, "--max-sequences", "11"});
  ASSERT_FALSE(HasFatalFailure());
  const auto calm = [&] {
    return Crowd(10, 3, PromptOf(16, 100), [](const v1::Usage& usage) {
      return usage.queue_seconds() + usage.prefill_seconds() +
             usage.decode_seconds();
    });
  };
  ExpectAtMost(1.1, calm, [&] { return WithAFlood(calm); });
  EXPECT_GT(Metric("headwise_admission_rejected_total", "reason=\"quota\""), 0);
}

}  // namespace
}  // namespace headwise
