#include "server/dispatch/speed_keeper.h"

#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_manager_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

ModelShape Shape() {
  ModelShape shape = SmallShape();
  shape.num_layers = 30;
  shape.num_vocab_tiles = 48;
  return shape;
}

class SpeedKeeperTest : public testing::Test {
 protected:
  SpeedKeeperTest() {
    for (const uint64_t id : {1, 2, 3}) {
      Member member;
      member.info.name = "w" + std::to_string(id);
      member.registration_id = id;
      members_.push_back(member);
    }
    Form();
  }

  // The group of members_, with what the keeper says of them.
  void Form() {
    said_ = keeper_.Apply(&members_);
    auto group = std::make_shared<FormedGroup>();
    group->members = members_;
    std::vector<WorkerCapacity> workers;
    for (const Member& member : members_) {
      workers.push_back({member.info.name, member.info.speed});
    }
    group->plan = *PlanPlacement(Shape(), workers, 64);
    group_ = group;
    keeper_.BeginGroup(group_);
  }

  // Steps in which the ranks are so fast, until the slowest has computed for
  // so many seconds.
  void Run(const std::vector<double>& speeds, double slowest_seconds) {
    std::vector<double> seconds;
    double slowest = 0.0;
    for (size_t rank = 0; rank < members_.size(); ++rank) {
      seconds.push_back(group_->plan.ranks[rank].decode_ms *
                        members_[rank].info.speed / speeds[rank]);
      slowest = std::max(slowest, seconds.back());
    }
    constexpr int kSteps = 100;
    for (int step = 0; step < kSteps; ++step) {
      for (size_t rank = 0; rank < members_.size(); ++rank) {
        StepSample sample;
        sample.worker = members_[rank].info.name;
        sample.timing.compute_seconds =
            seconds[rank] / slowest * slowest_seconds / kSteps;
        keeper_.Add(sample);
      }
    }
  }

  FakeClock clock_;
  SpeedKeeper keeper_{{.shape = Shape()}, clock_};
  std::vector<Member> members_;
  std::shared_ptr<FormedGroup> group_;
  std::string said_;
};

TEST_F(SpeedKeeperTest, ASlowWorkerLosesUnitsOnceItWasMeasuredForLong) {
  Run({1, 0.1, 1}, 9.9);
  EXPECT_FALSE(keeper_.IsWorthMoving());
  Run({1, 0.1, 1}, 0.2);
  EXPECT_TRUE(keeper_.IsWorthMoving());
  const int64_t before = group_->plan.ranks[1].num_units;
  Form();
  EXPECT_THAT(said_, HasSubstr("speeds as measured: w1 1.43, w2 0.143"));
  EXPECT_LT(group_->plan.ranks[1].num_units, before / 2);
  EXPECT_GT(group_->plan.ranks[0].num_units, before);
  EXPECT_FALSE(keeper_.IsWorthMoving());
}

TEST_F(SpeedKeeperTest, EqualWorkersStayAsDeclared) {
  Run({1, 0.9, 1.1}, 100);
  EXPECT_FALSE(keeper_.IsWorthMoving());
  Form();
  EXPECT_EQ(said_, "");
  for (const Member& member : members_) EXPECT_EQ(member.info.speed, 1.0);
}

TEST_F(SpeedKeeperTest, OneChangeAMinuteAndWhoRecoversGetsItsUnitsBack) {
  const int64_t before = group_->plan.ranks[1].num_units;
  Run({1, 0.1, 1}, 20);
  Form();
  Run({1, 1, 1}, 20);
  EXPECT_FALSE(keeper_.IsWorthMoving()) << "not twice in a minute";
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(keeper_.IsWorthMoving());
  Form();
  EXPECT_EQ(group_->plan.ranks[1].num_units, before);
}

// It was fast for long; what it is now counts.
TEST_F(SpeedKeeperTest, OldMeasurementsAreForgotten) {
  for (int i = 0; i < 100; ++i) Run({1, 1, 1}, 10);
  EXPECT_FALSE(keeper_.IsWorthMoving());
  for (int i = 0; i < 10; ++i) Run({1, 0.1, 1}, 10);
  EXPECT_TRUE(keeper_.IsWorthMoving());
}

TEST_F(SpeedKeeperTest, ANewRegistrationIsAsItDeclares) {
  Run({1, 0.1, 1}, 20);
  members_[1].registration_id = 7;
  Form();
  EXPECT_EQ(members_[1].info.speed, 1.0);
  EXPECT_GT(members_[0].info.speed, 1.0);
}

TEST_F(SpeedKeeperTest, AWorkerThatIsAloneIsNeverMoved) {
  members_.resize(1);
  Form();
  Run({0.1}, 1000);
  EXPECT_FALSE(keeper_.IsWorthMoving());
}

}  // namespace
}  // namespace headwise
