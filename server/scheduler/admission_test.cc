#include "server/scheduler/admission.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kContext = 500;

// Two units of 100 bytes per position; two heads share each.
constexpr KvGeometry kGeometry = {
    .num_layers = 1, .num_kv_heads = 2, .heads_per_kv_head = 2, .head_dim = 25};

EngineRequest Request(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request;
  request.prompt.assign(prompt_len, 1);
  request.max_new_tokens = max_new_tokens;
  return request;
}

// Both units on rank 0, which holds so many positions.
absl::StatusOr<std::vector<int64_t>> AdmitInto(int64_t positions,
                                               const EngineRequest& request) {
  const KvNeeds needs(kGeometry,
                      {.unit_rank = {0, 0}, .rank_bytes = {200 * positions}});
  return Admit(request, {.needs = needs, .max_context_len = kContext});
}

std::shared_ptr<HeadPlan> PlanWith(const UnitPolicy& second_unit) {
  auto plan = std::make_shared<HeadPlan>(FullPlan(1, 4, 2));
  plan->units[1] = second_unit;
  return plan;
}

const UnitPolicy kStream = {
    .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 64};

TEST(AdmissionTest, TheModelsContextIsTheLimitToTheToken) {
  EXPECT_TRUE(AdmitInto(640, Request(400, 100)).ok());
  const absl::Status refused = AdmitInto(640, Request(400, 101)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("context of 501 tokens"));
  EXPECT_THAT(refused.message(), HasSubstr("context that fits is 500 tokens"));
}

TEST(AdmissionTest, TheCacheIsTheLimitAndBothNumbersOfBytesAreTold) {
  EXPECT_THAT(*AdmitInto(128, Request(100, 28)), ElementsAre(128 * 200));
  const absl::Status refused = AdmitInto(128, Request(100, 29)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("38400 bytes of KV on rank 0"));
  EXPECT_THAT(refused.message(), HasSubstr("available are 25600 bytes"));
  EXPECT_THAT(refused.message(), HasSubstr("context that fits is 128 tokens"));
}

TEST(AdmissionTest, TheScarcestRankIsNamed) {
  const KvNeeds needs(kGeometry,
                      {.unit_rank = {0, 1}, .rank_bytes = {64000, 6400}});
  const AdmissionTerms terms = {.needs = needs, .max_context_len = kContext};
  EXPECT_THAT(*Admit(Request(60, 4), terms), ElementsAre(6400, 6400));
  EXPECT_THAT(Admit(Request(60, 5), terms).status().message(),
              HasSubstr("12800 bytes of KV on rank 1; available are 6400"));
}

TEST(AdmissionTest, APlanThatKeepsLessFitsMore) {
  EngineRequest request = Request(400, 90);
  EXPECT_FALSE(AdmitInto(490, request).ok());
  request.plan = PlanWith(kStream);
  // Full: 8 blocks. Streaming: a sink, (63 + 256) / 64 up, and a shared one.
  EXPECT_THAT(*AdmitInto(490, request), ElementsAre((8 + 1 + 5 + 1) * 6400));
  request.prompt.assign(450, 1);
  request.max_new_tokens = 51;
  EXPECT_THAT(AdmitInto(200, request).status().message(),
              HasSubstr("context that fits is 192 tokens"));
}

TEST(AdmissionTest, APlanThatRenumbersPositionsMayPassTheModelsContext) {
  EngineRequest request = Request(5000, 100);
  UnitPolicy stream = kStream;
  request.plan = PlanWith(stream);
  EXPECT_THAT(AdmitInto(100'000, request).status().message(),
              HasSubstr("and a context of 500 tokens"));
  stream.slot_positions = true;
  HeadPlan endless = *PlanWith(stream);
  endless.units.assign(endless.units.size(), stream);
  request.plan = std::make_shared<const HeadPlan>(endless);
  EXPECT_TRUE(AdmitInto(2000, request).ok());
  stream.window = kContext;  // sees distances beyond what was trained
  endless.units.back() = stream;
  request.plan = std::make_shared<const HeadPlan>(endless);
  EXPECT_EQ(AdmitInto(100'000, request).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(AdmissionTest, ScoreEmbedAndPrefixNeedTheirPromptOnly) {
  for (const WorkKind kind :
       {WorkKind::kScore, WorkKind::kEmbed, WorkKind::kPrefix}) {
    EngineRequest request = Request(500, kMax);
    request.kind = kind;
    EXPECT_EQ(NeededTokens(request), 500);
    EXPECT_TRUE(AdmitInto(640, request).ok());
    request.prompt.push_back(1);
    EXPECT_EQ(AdmitInto(640, request).status().code(),
              absl::StatusCode::kOutOfRange);
  }
}

TEST(AdmissionTest, HugeCountsAreRefusedWithoutOverflow) {
  EXPECT_EQ(NeededTokens(Request(2, kMax)), kMax);
  for (const int64_t max_new : {kMax, kMax - 1, kMax / 2}) {
    EXPECT_EQ(AdmitInto(640, Request(2, max_new)).status().code(),
              absl::StatusCode::kOutOfRange);
  }
}

TEST(AdmissionTest, NothingToDoIsInvalid) {
  EXPECT_EQ(AdmitInto(640, Request(0, 1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status status = AdmitInto(640, Request(1, 0)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("max_new_tokens is 0"));
}

// What one worker would refuse, with every request of its step.
TEST(AdmissionTest, PlansAndProbesThatCantBeServedAreInvalid) {
  const auto refusal = [](auto change) {
    EngineRequest request = Request(1, 1);
    change(request);
    const absl::Status status = AdmitInto(640, request).status();
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refusal([](auto& r) {
              r.plan = PlanWith({});
              r.probe = {.argmax = true, .distance_sets = {{0, 5}}};
            }),
            "");
  EXPECT_THAT(refusal([](auto& r) {
                r.plan = std::make_shared<HeadPlan>(FullPlan(2, 4, 2));
              }),
              HasSubstr("plan is for 2 layers of 4 heads and 2 KV heads, the "
                        "model has 1, 4 and 2"));
  EXPECT_THAT(refusal([](auto& r) {
                r.plan = PlanWith(kStream);
                r.probe.argmax = true;
              }),
              HasSubstr("a probe reads units that see everything"));
  EXPECT_THAT(refusal([](auto& r) {
                auto plan = PlanWith(kStream);
                plan->heads[3].sink_beta = 0.5f;
                r.plan = plan;
              }),
              HasSubstr("heads[3] sink_beta"));
  EXPECT_THAT(refusal([](auto& r) { r.probe.distance_sets.resize(5); }),
              HasSubstr("5 distance sets, limit 4"));
  EXPECT_THAT(refusal([](auto& r) { r.probe.distance_sets = {{-1}}; }),
              HasSubstr("each 0 or more"));
  EXPECT_THAT(
      refusal([](auto& r) { r.probe.distance_sets.emplace_back(65, 1); }),
      HasSubstr("65 distances, limit 64"));
}

TEST(AdmissionTest, LandmarksStandWhereThePlanSays) {
  auto plan = PlanWith(
      {.kind = PolicyKind::kLandmark, .chunk_len = 64, .num_chunks = 3});
  plan->landmark_token = 2;
  EngineRequest request = Request(64, 63);
  request.plan = plan;
  EXPECT_THAT(AdmitInto(500, request).status().message(),
              HasSubstr("token 1 is at position 63, where the plan's landmark "
                        "2 belongs"));
  request.prompt[63] = 2;
  EXPECT_TRUE(AdmitInto(500, request).ok());
  request.max_new_tokens = 64;
  EXPECT_THAT(AdmitInto(500, request).status().message(),
              HasSubstr("max_new_tokens: 64 would reach position 127"));
}

TEST(AdmissionTest, AForkNeedsWhatItDoesNotShare) {
  const KvNeeds needs(kGeometry,
                      {.unit_rank = {0, 0}, .rank_bytes = {200 * 320}});
  const HeldPrefix prefix = {.length = 200};
  AdmissionTerms terms = {.needs = needs,
                          .max_context_len = kContext,
                          .prefix = &prefix,
                          .prefix_bytes = {256 * 200}};
  // 250 positions are 4 blocks, of which the prefix's first 3 are shared.
  EXPECT_THAT(*Admit(Request(40, 10), terms), ElementsAre(64 * 200));
  const absl::Status refused = Admit(Request(40, 17), terms).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(),
              HasSubstr("context of 257 tokens (prefix 200 + prompt 40"));
  EXPECT_THAT(refused.message(), HasSubstr("25600 bytes of KV on rank 0"));
  EXPECT_THAT(refused.message(), HasSubstr("available are 12800 bytes"));
  EngineRequest other = Request(1, 1);
  other.plan = PlanWith({.kv_type = PlanKvType::kInt8});
  EXPECT_THAT(Admit(other, terms).status().message(),
              HasSubstr("kv_head 1 is stored otherwise"));
}

}  // namespace
}  // namespace headwise
