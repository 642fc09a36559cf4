#include "server/scheduler/scheduler_simulation.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(SchedulerSimulationTest, RandomWorkloadsHearTheirOwnAnswerOnce) {
  int64_t num_answered_ok = 0;
  for (uint64_t seed = 1; seed <= 6000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SchedulerSimulation simulation(seed, SimulatedFault());
    simulation.Run();
    num_answered_ok += simulation.num_answered_ok();
    if (HasFailure()) return;
  }
  EXPECT_GT(num_answered_ok, 28000);  // the runs are not all refusals
}

class SchedulerFaultTest : public testing::TestWithParam<SimulatedFault> {};

// The n-th step fails, for n = 1, 2, 3, ... until the run has no n-th step.
TEST_P(SchedulerFaultTest, AnyStepMayFailAndTheRestGoesOn) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    for (int64_t n = 1;; ++n) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " n " << n);
      SimulatedFault fault = GetParam();
      fault.nth_step = n;
      SchedulerSimulation simulation(seed, fault);
      simulation.Run();
      if (HasFailure()) return;
      if (!simulation.fault_happened()) break;
    }
  }
}

// Groups that are lost again and again: requests that come further in each are
// answered.
TEST(SchedulerSimulationTest, RepeatedLossesChangeNoAnswer) {
  int64_t num_answered_ok = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    for (const int64_t n : {2, 5, 13, 40}) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " n " << n);
      SchedulerSimulation simulation(seed,
                                     {.nth_step = n,
                                      .code = absl::StatusCode::kUnavailable,
                                      .is_suspend = seed % 2 == 0,
                                      .is_repeated = true});
      simulation.Run();
      num_answered_ok += simulation.num_answered_ok();
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(num_answered_ok, 700);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, SchedulerFaultTest,
    testing::Values(SimulatedFault{.code = absl::StatusCode::kInvalidArgument},
                    SimulatedFault{
                        .code = absl::StatusCode::kResourceExhausted},
                    SimulatedFault{.code = absl::StatusCode::kOutOfRange},
                    SimulatedFault{.code = absl::StatusCode::kUnavailable},
                    SimulatedFault{.code = absl::StatusCode::kInternal},
                    SimulatedFault{.is_suspend = true}),
    [](const auto& info) {
      return info.param.is_suspend ? std::string("Suspend")
                                   : absl::StatusCodeToString(info.param.code);
    });

}  // namespace
}  // namespace headwise
