// headwise.v1.Plans as a client meets it.

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/plans.grpc.pb.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/rotary_reach.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/services_fixture.h"
#include "server/frontends/test_plans.h"
#include "server/frontends/text_thread.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class PlansServiceTest : public ServicesTest {
 protected:
  void SetUp() override {
    ServicesTest::SetUp();
    plans_ = v1::Plans::NewStub(frontends_->InProcessChannel());
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(
      grpc::Status (v1::Plans::Stub::*method)(grpc::ClientContext*,
                                              const Request&, Response*),
      const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(30));
    Response response;
    const grpc::Status status =
        (plans_.get()->*method)(&context, request, &response);
    if (status.ok()) return response;
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        status.error_message());
  }

  absl::StatusOr<v1::PlanInfo> Put(const HeadPlan& plan) {
    v1::PutPlanRequest request;
    WriteHeadPlan(plan, request.mutable_plan());
    return Call(&v1::Plans::Stub::PutPlan, request);
  }
  absl::StatusOr<v1::SetDefaultPlanResponse> SetDefault(
      const std::string& name) {
    v1::SetDefaultPlanRequest request;
    request.set_plan(name);
    return Call(&v1::Plans::Stub::SetDefaultPlan, request);
  }
  absl::Status Delete(const std::string& name) {
    v1::DeletePlanRequest request;
    request.set_plan(name);
    return Call(&v1::Plans::Stub::DeletePlan, request).status();
  }
  // The head map under a plan; empty: the default.
  absl::StatusOr<v1::HeadMap> MapUnder(const std::string& name) {
    v1::GetHeadMapRequest request;
    request.set_plan(name);
    return client_->GetHeadMap(request);
  }
  v1::ListPlansResponse List() {
    return *Call(&v1::Plans::Stub::ListPlans, v1::ListPlansRequest());
  }

  // The plan that the engine gets with a request that names `name`.
  std::shared_ptr<const HeadPlan> PlanOf(const std::string& name) {
    std::shared_ptr<const HeadPlan> plan;
    engine_.SetScript([&](const FakeEngine::Call& call) {
      plan = call.request.plan;
      call.sink.OnFinished(absl::OkStatus(), {});
    });
    v1::GenerateRequest request = Prompt();
    request.set_plan(name);
    EXPECT_TRUE(Generate(request).status.ok());
    return plan;
  }

  std::unique_ptr<v1::Plans::Stub> plans_;
};

TEST_F(PlansServiceTest, APlanIsPutFoundListedAndDeleted) {
  HeadPlan plan = EndlessPlan(8);
  plan.origin = "a test";
  const auto info = Put(plan);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->hash(), HeadPlanHash(plan));
  EXPECT_EQ(info->origin(), "a test");
  EXPECT_EQ(info->longest_context_len(), kLongestContext);
  EXPECT_FALSE(info->is_default());
  EXPECT_EQ(info->kv_share(), 1.0);  // of 32 tokens all are within one block
  EXPECT_EQ(info->num_full_units(), 0);
  EXPECT_EQ(info->num_units(), 4);

  v1::GetPlanRequest get;
  get.set_plan(info->hash().substr(0, 8));
  const auto got = Call(&v1::Plans::Stub::GetPlan, get);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*ReadHeadPlan(got->plan()), plan);
  EXPECT_EQ(got->info().hash(), info->hash());
  get.set_plan("full");
  EXPECT_EQ(Call(&v1::Plans::Stub::GetPlan, get).status().code(),
            absl::StatusCode::kInvalidArgument);

  ASSERT_EQ(List().plans_size(), 1);
  EXPECT_EQ(List().default_plan(), "full");
  EXPECT_TRUE(Delete(info->hash()).ok());
  EXPECT_EQ(List().plans_size(), 0);
  EXPECT_EQ(Delete(info->hash()).code(), absl::StatusCode::kNotFound);
}

TEST_F(PlansServiceTest, TheDefaultPlanIsOfRequestsThatNameNone) {
  const HeadPlan plan = StreamingPlan(4);
  const std::string hash = Put(plan)->hash();
  EXPECT_EQ(PlanOf(""), nullptr);
  EXPECT_EQ(*PlanOf(hash), plan);
  const auto set = SetDefault(hash);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->previous(), "full");
  EXPECT_TRUE(set->info().is_default());
  EXPECT_EQ(*PlanOf(""), plan);
  EXPECT_EQ(PlanOf("full"), nullptr);
  EXPECT_EQ(Delete(hash).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(SetDefault("")->previous(), hash);
  EXPECT_EQ(PlanOf(""), nullptr);
}

TEST_F(PlansServiceTest, PlansThatAreNotTheModelsAreRefusedByName) {
  HeadPlan other = StreamingPlan(4);
  other.model_sha256 = std::string(64, '0');
  const absl::Status model = Put(other).status();
  EXPECT_EQ(model.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(model.message()),
              HasSubstr("model_sha256: the plan is for model 0000"));
  EXPECT_EQ(Put(FullPlan(3, 4, 2)).status().code(),
            absl::StatusCode::kInvalidArgument);
  HeadPlan bad = StreamingPlan(4);
  v1::PutPlanRequest request;
  WriteHeadPlan(bad, request.mutable_plan());
  request.mutable_plan()->mutable_units(1)->set_window(-1);
  EXPECT_THAT(
      std::string(Call(&v1::Plans::Stub::PutPlan, request).status().message()),
      HasSubstr("window: -1 is outside"));
  request.set_model("other");
  EXPECT_EQ(Call(&v1::Plans::Stub::PutPlan, request).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(SetDefault("0123456789").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(List().plans_size(), 0);
}

TEST_F(PlansServiceTest, AFullStoreNamesItsLimit) {
  for (int64_t window = 1; window <= 64; ++window) {
    ASSERT_TRUE(Put(StreamingPlan(window)).ok());
  }
  const absl::Status refused = Put(StreamingPlan(65)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("limit 64"));
}

// Two workers: layer 0 on w0, layer 1 on w1. Units keep 32 bytes a position.
TEST_F(PlansServiceTest, AForecastTellsBytesByRank) {
  auto map = std::make_shared<HeadMap>(*cluster_.head_map());
  map->world_size = 2;
  map->workers.push_back(map->workers[0]);
  map->workers[1].name = "w1";
  map->workers[1].rank = 1;
  map->workers[1].speed = 0.5;
  for (HeadMap::Worker& worker : map->workers) {
    worker.weight_bytes = 17'500'000;
    worker.kv_capacity_bytes = 4 * 64 * 32;  // two blocks of each unit
  }
  for (int i = 0; i < 4; ++i) map->units.push_back({.rank = i / 2});
  cluster_.Set(map, true);

  HeadPlan plan = EndlessPlan(8);
  plan.units[2] = {};
  plan.units[3] = {};
  v1::ForecastPlanRequest request;
  WriteHeadPlan(plan, request.mutable_inline_plan());
  request.set_context_len(640);
  const auto cost = Call(&v1::Plans::Stub::ForecastPlan, request);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->hash(), HeadPlanHash(plan));
  ASSERT_EQ(cost->ranks_size(), 2);
  EXPECT_EQ(cost->ranks(1).worker(), "w1");
  EXPECT_EQ(cost->ranks(0).held_bytes(), 2 * 64 * 32);
  EXPECT_EQ(cost->ranks(1).held_bytes(), 2 * 640 * 32);
  EXPECT_EQ(cost->ranks(1).read_bytes(), 2 * 640 * 32);
  EXPECT_EQ(cost->total().held_bytes(), 2 * (64 + 640) * 32);
  EXPECT_EQ(cost->full_bytes(), 4 * 640 * 32);
  EXPECT_NEAR(cost->ranks(0).ms_per_token(), 1.0, 1e-2);
  EXPECT_NEAR(cost->total().ms_per_token(), 2.0, 1e-2);
  EXPECT_EQ(List().plans_size(), 0);  // nothing was changed

  request.set_stored("full");
  request.set_context_len(0);
  const auto full = Call(&v1::Plans::Stub::ForecastPlan, request);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->hash(), "full");
  EXPECT_EQ(full->context_len(), 32);
  EXPECT_EQ(full->total().held_bytes(), full->full_bytes());
  request.set_context_len(-1);
  EXPECT_EQ(Call(&v1::Plans::Stub::ForecastPlan, request).status().code(),
            absl::StatusCode::kInvalidArgument);
  cluster_.Set(std::make_shared<HeadMap>(), false);
  request.set_context_len(0);
  EXPECT_EQ(Call(&v1::Plans::Stub::ForecastPlan, request).status().code(),
            absl::StatusCode::kUnavailable);
}

// Two layers of two units, all contexts cut over both ranks.
TEST_F(PlansServiceTest, TheHeadMapShowsThePoliciesOfAPlan) {
  auto map = std::make_shared<HeadMap>(*cluster_.head_map());
  for (int64_t i = 0; i < 4; ++i) {
    map->units.push_back(
        {.layer = i / 2, .kv_head = i % 2, .context_ranks = {0, 1}});
  }
  cluster_.Set(map, true);
  EXPECT_EQ(MapUnder("")->plan(), "full");
  EXPECT_EQ(MapUnder("")->units(3).policy(), "full");
  EXPECT_EQ(MapUnder("")->units(3).context_ranks_size(), 2);

  HeadPlan plan = StreamingPlan(8);
  plan.units[3] = {};
  const std::string hash = HeadPlanHash(plan);
  EXPECT_EQ(MapUnder(hash).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MapUnder("?").status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Put(plan).ok());
  EXPECT_EQ(MapUnder("")->plan(), "full");  // put, not applied
  ASSERT_TRUE(SetDefault(hash).ok());
  for (const std::string& name : {std::string(), hash, hash.substr(0, 8)}) {
    const auto shown = MapUnder(name);
    ASSERT_TRUE(shown.ok()) << shown.status();
    EXPECT_EQ(shown->plan(), hash);
    EXPECT_EQ(shown->units(0).policy(), "streaming");
    EXPECT_EQ(shown->units(0).policy_description(),
              "streaming, 0 sinks, window 8");
    EXPECT_EQ(shown->units(0).context_ranks_size(), 0);  // whole on its rank
    EXPECT_EQ(shown->units(3).policy(), "full");
    EXPECT_EQ(shown->units(3).context_ranks_size(), 2);
  }
  EXPECT_EQ(MapUnder("full")->units(0).policy(), "full");

  v1::PlanPlacementRequest request;
  request.add_workers();
  EXPECT_EQ(client_->PlanPlacement(request)->units(0).policy(), "streaming");
  request.set_plan("full");
  EXPECT_EQ(client_->PlanPlacement(request)->units(0).policy(), "full");
}

TEST_F(PlansServiceTest, ALongPromptIsReadOnAnotherThreadAndAnswered) {
  const std::string hash = Put(EndlessPlan(8))->hash();
  size_t prompt_len = 0;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    prompt_len = call.request.prompt.size();
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  v1::GenerateRequest request;
  request.set_text(std::string(5 << 20, 'a'));
  request.set_plan(hash);
  const Answer answer = Generate(request);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(prompt_len, (5u << 20) + 1);  // and bos
  v1::TokenizeRequest tokenize;
  tokenize.set_text(std::string(kMaxInlineTextBytes + 1, 'b'));
  EXPECT_EQ(client_->Tokenize(tokenize)->ids_size(), kMaxInlineTextBytes + 1);
}

}  // namespace
}  // namespace headwise
