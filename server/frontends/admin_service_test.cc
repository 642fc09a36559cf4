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

TEST_F(AdminServiceTest, TheMapNamesWhoIsMissing) {
  const auto map = client_->GetHeadMap({});
  ASSERT_TRUE(map.ok()) << map.status();
  ASSERT_EQ(map->missing_size(), 1);
  EXPECT_EQ(map->missing(0).name(), "w1");
  EXPECT_EQ(map->missing(0).reason(), "at h:1, gone for 3s");
  cluster_.Set(std::make_shared<HeadMap>(), false);
  EXPECT_THAT(std::string(client_->GetHeadMap({}).status().message()),
              HasSubstr("; missing w1: at h:1, gone for 3s"));
}

TEST_F(AdminServiceTest, CapacityIsWhatTheEngineSays) {
  engine_.SetSizeAnswer(SizeAnswer{.verdict = SizeAnswer::Verdict::kLater,
                                   .retry_after = absl::Milliseconds(1500),
                                   .rank = 2,
                                   .needed_bytes = 300,
                                   .available_bytes = 200,
                                   .longest_context = 32,
                                   .reason = "others run"});
  v1::CheckCapacityRequest request;
  request.set_prompt_tokens(10);
  request.set_max_tokens(5);
  const auto later = client_->CheckCapacity(request);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(engine_.asked().prompt_tokens, 10);
  EXPECT_EQ(engine_.asked().max_new_tokens, 5);
  EXPECT_EQ(later->capacity(), v1::CAPACITY_LATER);
  EXPECT_EQ(later->retry_seconds(), 1.5);
  EXPECT_EQ(later->rank(), 2u);
  EXPECT_EQ(later->needed_bytes(), 300);
  EXPECT_EQ(later->available_bytes(), 200);
  EXPECT_EQ(later->longest_context(), 32);
  EXPECT_EQ(later->reason(), "others run");
  engine_.SetSizeAnswer(SizeAnswer{.verdict = SizeAnswer::Verdict::kNow});
  EXPECT_EQ(client_->CheckCapacity(request)->capacity(), v1::CAPACITY_NOW);
  engine_.SetSizeAnswer(SizeAnswer{.verdict = SizeAnswer::Verdict::kNever});
  EXPECT_EQ(client_->CheckCapacity(request)->capacity(), v1::CAPACITY_NEVER);
  engine_.SetSizeAnswer(absl::UnavailableError("no group"));
  EXPECT_EQ(client_->CheckCapacity(request).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(AdminServiceTest, BadQuestionsOfCapacityAreRefusedByField) {
  const auto message = [&](const v1::CheckCapacityRequest& request) {
    return std::string(client_->CheckCapacity(request).status().message());
  };
  v1::CheckCapacityRequest request;
  EXPECT_THAT(message(request), HasSubstr("prompt_tokens: is 0"));
  request.set_prompt_tokens(1);
  request.set_max_tokens(-1);
  EXPECT_THAT(message(request), HasSubstr("max_tokens: is -1"));
  request.set_max_tokens(0);
  request.set_plan("00000000");
  EXPECT_THAT(message(request), HasSubstr("plan"));
  request.set_plan("");
  request.set_model("other");
  EXPECT_THAT(message(request), HasSubstr("other"));
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
