// A worker with less CPU than it declares, by a control group. The others must
// have more than that for it to be slow at all.

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/control_group.h"

namespace headwise {
namespace {

using testing::ContainsRegex;
using testing::IsEmpty;

class SlowWorkerTest : public ServedCluster {
 protected:
  // That the worker holds now; -1: no group serves.
  int64_t UnitsOf(const std::string& worker) {
    v1::HeadMap map;
    if (!admin_->GetHeadMap(Context().get(), {}, &map).ok()) return -1;
    for (const v1::WorkerShare& share : map.workers()) {
      if (share.name() == worker) return share.num_units();
    }
    return 0;
  }
};

// Case 5: the others wait for it, which is measured; at the next idle moment it
// loses units. The text is what it was.
TEST_F(SlowWorkerTest, AWorkerWithATenthOfItsCpuLosesUnits) {
  StartServing(2);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(40);
  AskUndisturbed(request);
  const int64_t before = UnitsOf("w1");
  ASSERT_GT(before, 0);
  const auto group = ControlGroup::Create();
  ASSERT_TRUE(group.ok()) << group.status();
  ASSERT_TRUE((*group)->Add(workers_[1]->pid()).ok());
  ASSERT_TRUE((*group)->LimitCpu(0.1).ok());
  double largest_skew = 0.0;
  EXPECT_TRUE(WaitUntil(
      [&] {
        AskUntilWhole(request, {});
        largest_skew =
            std::max(largest_skew,
                     Metric("headwise_worker_skew_ratio", "worker=\"w1\""));
        const int64_t units = UnitsOf("w1");
        return units >= 0 && units <= before * 3 / 4;
      },
      absl::Seconds(120)))
      << Logs();
  EXPECT_GT(largest_skew, 1.5) << "the metric names it";
  EXPECT_THAT(coordinator_->Log(), ContainsRegex("speeds as measured: w0"));
  AskUntilWhole(request, {});
  EXPECT_THAT(history_.CheckTokens(fault_free_), IsEmpty());
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
}

}  // namespace
}  // namespace headwise
