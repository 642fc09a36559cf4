// More is asked of a cluster than it can do: what is refused, and what of the
// rest. The model is tiny, so a step takes less than a millisecond.

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

struct Details {
  std::string reason;
  std::string quota_subject;
  absl::Duration retry_delay;
};

Details DetailsOf(const grpc::Status& status) {
  Details details;
  google::rpc::Status rich;
  rich.ParseFromString(status.error_details());
  for (const auto& detail : rich.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::QuotaFailure quota;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) details.reason = info.reason();
    if (detail.UnpackTo(&quota)) {
      details.quota_subject = quota.violations(0).subject();
    }
    if (detail.UnpackTo(&retry)) {
      details.retry_delay = absl::Seconds(retry.retry_delay().seconds()) +
                            absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return details;
}

class OverloadTest : public ServedCluster {
 protected:
  void Serve(const std::vector<std::string>& flags) {
    UseTinyModel(1 << 17);
    ASSERT_FALSE(HasFatalFailure());
    StartServing(1, flags);
  }

  grpc::Status Ask(const v1::GenerateRequest& request, absl::Duration timeout,
                   const std::string& tenant = "") {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    if (!tenant.empty()) context.AddMetadata("x-headwise-tenant", tenant);
    const auto reader = inference_->Generate(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
    }
    return reader->Finish();
  }

  struct Counts {
    std::atomic<int> whole = 0, refused = 0, late = 0, other = 0;
  };
  // So many callers for so long, who do as they are told: one that is refused
  // comes again after the time that the refusal names.
  void Ask(int num_callers, absl::Duration time, absl::Duration timeout,
           Counts* counts) {
    const absl::Time end = Clock::Monotonic().Now() + time;
    std::vector<std::thread> callers;
    for (int i = 0; i < num_callers; ++i) {
      callers.emplace_back([&, i] {
        for (int n = 0; Clock::Monotonic().Now() < end; ++n) {
          const grpc::Status status =
              Ask(Request(kTokens, /*seed=*/1000 * i + n), timeout);
          switch (status.error_code()) {
            case grpc::StatusCode::OK:
              ++counts->whole;
              break;
            case grpc::StatusCode::DEADLINE_EXCEEDED:
              ++counts->late;
              break;
            case grpc::StatusCode::RESOURCE_EXHAUSTED: {
              ++counts->refused;
              const absl::Duration delay = DetailsOf(status).retry_delay;
              EXPECT_GE(delay, absl::Seconds(1)) << status.error_message();
              absl::SleepFor(std::min(delay, end - Clock::Monotonic().Now()));
              break;
            }
            default:
              ++counts->other;
              ADD_FAILURE() << status.error_message();
          }
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
  }

  static constexpr int kTokens = 800;
};

// Case 39: what runs is in time for its callers, however many there are, and
// afterwards all is as before.
TEST_F(OverloadTest, TenTimesTooMuchLeavesMostOfTheThroughput) {
  Serve({"--max-sequences", "2"});
  ASSERT_FALSE(HasFatalFailure());
  Counts peak, overload, after;
  Ask(2, absl::Seconds(6), absl::Minutes(1), &peak);
  ASSERT_GT(peak.whole, 0);
  // As long as four in turn take: of twenty most would be late.
  const absl::Duration timeout = 4 * absl::Seconds(6) * 2 / peak.whole.load();
  Ask(20, absl::Seconds(12), timeout, &overload);
  const std::string told = absl::StrCat(
      "peak ", peak.whole.load(), " in 6 s; overload ", overload.whole.load(),
      " in 12 s, refused ", overload.refused.load(), ", late ",
      overload.late.load(), ", of ", absl::FormatDuration(timeout));
  RecordProperty("answers", told);
  // Half of the peak: the callers' threads run on the same cores.
  EXPECT_GE(overload.whole, peak.whole) << told;
  EXPECT_GT(overload.refused, 0) << told;
  // Nobody came again at once: 20 callers, 12 s, 1 s at least.
  EXPECT_LE(overload.refused, 20 * 13) << told;
  // The worst of what was left over is gone within 10 s.
  const absl::Time end = Clock::Monotonic().Now();
  ASSERT_TRUE(Ask(Request(kTokens), absl::Minutes(1)).ok());
  EXPECT_LT(Since(end), absl::Seconds(10));
  Ask(2, absl::Seconds(6), absl::Minutes(1), &after);
  EXPECT_GE(after.whole * 2, peak.whole.load()) << after.whole.load();
}

// Case 17's and 39's: a deadline that can't be met is not waited for.
TEST_F(OverloadTest, APromptThatWouldBeLateIsRefusedBeforeItsDeadline) {
  Serve({});
  ASSERT_FALSE(HasFatalFailure());
  const absl::Time begin = Clock::Monotonic().Now();
  ASSERT_TRUE(Ask(PromptOf(8'000, 1), absl::Minutes(2)).ok());
  const absl::Duration took = Since(begin);
  const double steps = Metric("headwise_steps_total");
  // Twice the rows, each of more cost: no machine is eight times as fast now.
  const absl::Duration deadline = took / 4;
  const grpc::Status status = Ask(PromptOf(16'000, 1), deadline);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("a prompt of 16000 tokens"));
  EXPECT_EQ(DetailsOf(status).reason, "DEADLINE_TOO_SHORT");
  EXPECT_EQ(Metric("headwise_admission_rejected_total", "reason=\"deadline\""),
            1.0);
  // The first prompt's sequence may be freed by a step of its own.
  EXPECT_LE(Metric("headwise_steps_total"), steps + 1);
  EXPECT_TRUE(Ask(PromptOf(16'000, 1), absl::Minutes(2)).ok());
}

// Case 37: a tenant that floods hears of its quota, and nobody else does.
TEST_F(OverloadTest, AFloodHasItsQuotaAndOthersAreAnswered) {
  const std::string path = folder_.Path("quotas.json");
  std::ofstream(path) << R"({"tenants": {"flood": {"running": 1, "waiting": 2,
      "tokens_per_second": 5000, "burst_tokens": 5000}}})";
  Serve({"--quotas", path, "--max-sequences", "4"});
  ASSERT_FALSE(HasFatalFailure());
  std::atomic<bool> is_over = false;
  std::atomic<int> num_refused = 0, num_whole = 0;
  std::vector<std::thread> flood;
  for (int i = 0; i < 12; ++i) {
    flood.emplace_back([&, i] {
      while (!is_over) {
        const grpc::Status status =
            Ask(Request(kTokens, i), absl::Minutes(1), "flood");
        if (status.ok()) {
          ++num_whole;
          continue;
        }
        EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
        EXPECT_THAT(status.error_message(),
                    HasSubstr("quota of tenant \"flood\": "));
        EXPECT_EQ(DetailsOf(status).quota_subject, "tenant:flood");
        ++num_refused;
        absl::SleepFor(absl::Milliseconds(20));  // sooner than it was told
      }
    });
  }
  EXPECT_TRUE(WaitUntil([&] { return num_refused > 20; }, kReady));
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(Metric("headwise_requests_running"), 1.0 + 1.0);
    const grpc::Status status =
        Ask(Request(50, /*seed=*/i), absl::Minutes(1), "calm");
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  is_over = true;
  for (std::thread& caller : flood) caller.join();
  EXPECT_GT(num_whole, 0);
  EXPECT_GE(Metric("headwise_admission_rejected_total", "reason=\"quota\""),
            num_refused.load());
}

}  // namespace
}  // namespace headwise
