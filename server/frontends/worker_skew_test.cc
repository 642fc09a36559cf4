#include "server/frontends/worker_skew.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(WorkerSkewTest, TheSlowOneStandsOut) {
  WorkerSkew skew;
  for (int step = 0; step < 5; ++step) {
    // A prefill among decodes: the same for all.
    const double work = step == 2 ? 100.0 : 1.0;
    skew.Observe("a", 0.010 * work);
    skew.Observe("b", 0.100 * work);
    skew.Observe("c", 0.030 * work);
  }
  EXPECT_THAT(skew.Ratios({"a", "b", "c"}),
              ElementsAre(DoubleNear(10.0 / 65, 1e-9), DoubleNear(5, 1e-9),
                          DoubleNear(30.0 / 55, 1e-9)));
  EXPECT_THAT(
      skew.Ratios({"b", "c"}),
      ElementsAre(DoubleNear(100.0 / 30, 1e-9), DoubleNear(30.0 / 100, 1e-9)));
}

TEST(WorkerSkewTest, ForgetsWhatIsLongOver) {
  WorkerSkew skew;
  for (int step = 0; step < 10; ++step) {
    skew.Observe("a", 1.0);
    skew.Observe("b", 10.0);
  }
  for (int64_t step = 0; step < 10 * WorkerSkew::kMemory; ++step) {
    skew.Observe("a", 1.0);
    skew.Observe("b", 1.0);
  }
  EXPECT_THAT(skew.Ratios({"a", "b"}),
              ElementsAre(DoubleNear(1, 0.01), DoubleNear(1, 0.01)));
}

TEST(WorkerSkewTest, WhoIsAloneOrUnknownIsAsLongAsOthers) {
  WorkerSkew skew;
  skew.Observe("a", 1.0);
  EXPECT_THAT(skew.Ratios({"a"}), ElementsAre(1.0));
  EXPECT_THAT(skew.Ratios({"a", "new"}), ElementsAre(1.0, 1.0));
  EXPECT_THAT(skew.Ratios({}), IsEmpty());
}

TEST(WorkerSkewTest, NamesAreBounded) {
  WorkerSkew skew;
  for (size_t i = 0; i < WorkerSkew::kMaxWorkers; ++i) {
    skew.Observe("w" + std::to_string(i), 1.0);
  }
  skew.Observe("one too many", 9.0);
  EXPECT_THAT(skew.Ratios({"w0", "one too many"}), ElementsAre(1.0, 1.0));
}

}  // namespace
}  // namespace headwise
