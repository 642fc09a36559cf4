#include "server/frontends/admin_service.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

using AdminServiceTest = ServicesTest;

TEST_F(AdminServiceTest, AdminShowsAndPlansPlacements) {
  EXPECT_EQ(client_->GetHeadMap({})->membership_epoch(), 7u);
  v1::PlanPlacementRequest request;
  request.add_workers()->set_speed(1);
  request.add_workers()->set_speed(0.5);
  const auto map = client_->PlanPlacement(request);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->workers_size(), 2);
  EXPECT_EQ(map->workers(1).name(), "worker-1");
  EXPECT_EQ(map->units_size(), 4);
  EXPECT_EQ(map->max_context_len(), 32);  // the model's: memory is unlimited
  EXPECT_EQ(map->workers(0).num_units() + map->workers(1).num_units(), 4);
  EXPECT_GT(map->workers(0).num_units(), map->workers(1).num_units());
}

TEST_F(AdminServiceTest, WithoutAGroupThereIsNoMap) {
  cluster_.Set(std::make_shared<HeadMap>(), false);
  const absl::Status status = client_->GetHeadMap({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("no group of workers stands: 1 workers are ready"));
  v1::GetHeadMapRequest other;
  other.set_model("other");
  EXPECT_EQ(client_->GetHeadMap(other).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(AdminServiceTest, BadPlansAreRefused) {
  const auto message = [&](const v1::PlanPlacementRequest& request) {
    return std::string(client_->PlanPlacement(request).status().message());
  };
  v1::PlanPlacementRequest request;
  EXPECT_THAT(message(request), HasSubstr("workers: has 0 workers"));
  request.add_workers()->set_speed(-1);
  EXPECT_THAT(message(request), HasSubstr("workers[0].speed: is -1"));
  request.mutable_workers(0)->set_speed(std::nan(""));
  EXPECT_THAT(message(request), HasSubstr("workers[0].speed: is nan"));
  request.mutable_workers(0)->set_speed(1);
  request.mutable_workers(0)->set_memory_bytes(-7);
  EXPECT_THAT(message(request), HasSubstr("workers[0].memory_bytes: is -7"));
  request.mutable_workers(0)->set_memory_bytes(0);
  request.mutable_workers(0)->set_name(std::string(257, 'n'));
  EXPECT_THAT(message(request), HasSubstr("workers[0].name: has 257 bytes"));
  request.mutable_workers(0)->set_name("");
  request.set_context_len(33);
  EXPECT_THAT(message(request), HasSubstr("context_len: is 33"));
  request.set_context_len(0);
  for (int i = 0; i < 64; ++i) request.add_workers();
  EXPECT_THAT(message(request), HasSubstr("workers: has 65 workers"));
}

}  // namespace
}  // namespace headwise
