#include "worker/step_wire/step_wire.h"

#include <limits>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Step ParsedBack(const Step& step) {
  worker::v1::StepRequest request;
  WriteStep(3, step, &request);
  EXPECT_EQ(request.membership_epoch(), 3u);
  const auto parsed = ParseStep(request);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(Step());
}

// Every field away from its default.
Step EveryField() {
  Step step;
  step.step_id = 8;
  step.free_sequence_ids = {4, 5};
  Slice slice;
  slice.sequence_id = 6;
  slice.first_position = 3;
  slice.tokens = {1, 9};
  slice.sample = true;
  slice.sampling = {.temperature = 0.5f,
                    .top_k = 7,
                    .top_p = 0.9f,
                    .min_p = 0.1f,
                    .repetition_penalty = 1.5f,
                    .seed = 11,
                    .top_logprobs = 2,
                    .logprobs = true};
  slice.score_targets = {2, -1};
  slice.hash_logits = true;
  slice.embed = true;
  slice.plan_id = 2;
  slice.prompt_len = 40;
  slice.contrast_plan_id = 6;
  slice.probe = {.argmax = true, .distance_sets = {{1, 2}, {}}};
  const auto plan = std::make_shared<const HeadPlan>(EveryFieldPlan());
  step.plans = {{2, plan}};
  step.drop_plan_ids = {1, 3};
  step.forks = {{.sequence_id = 21,
                 .from_sequence_id = 20,
                 .length = 64,
                 .plan_id = 2,
                 .prompt_len = 70}};
  step.parks = {{.sequence_id = 30, .action = ParkAction::kWrite},
                {.sequence_id = 31, .action = ParkAction::kUnload},
                {.sequence_id = 32, .action = ParkAction::kRead, .plan_id = 2},
                {.sequence_id = 33, .action = ParkAction::kErase}};
  Slice decode;
  decode.sequence_id = 7;
  decode.use_last_sample = true;
  step.slices = {slice, decode};
  return step;
}

TEST(StepWireTest, EveryFieldOfASliceComesBack) {
  const Step back = ParsedBack(EveryField());
  ASSERT_EQ(back.slices.size(), 2u);
  EXPECT_EQ(back.slices[0].sequence_id, 6u);
  EXPECT_EQ(back.slices[0].first_position, 3);
  EXPECT_THAT(back.slices[0].tokens, ElementsAre(1, 9));
  EXPECT_FALSE(back.slices[0].use_last_sample);
  EXPECT_TRUE(back.slices[0].sample);
  EXPECT_EQ(back.slices[0].sampling.temperature, 0.5f);
  EXPECT_EQ(back.slices[0].sampling.top_k, 7);
  EXPECT_EQ(back.slices[0].sampling.top_p, 0.9f);
  EXPECT_EQ(back.slices[0].sampling.min_p, 0.1f);
  EXPECT_EQ(back.slices[0].sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(back.slices[0].sampling.seed, 11u);
  EXPECT_EQ(back.slices[0].sampling.top_logprobs, 2);
  EXPECT_TRUE(back.slices[0].sampling.logprobs);
  EXPECT_THAT(back.slices[0].score_targets, ElementsAre(2, -1));
  EXPECT_TRUE(back.slices[0].hash_logits);
  EXPECT_TRUE(back.slices[0].embed);
  EXPECT_EQ(back.slices[0].plan_id, 2u);
  EXPECT_EQ(back.slices[0].prompt_len, 40);
  EXPECT_EQ(back.slices[0].contrast_plan_id, 6u);
  EXPECT_TRUE(back.slices[0].probe.argmax);
  EXPECT_EQ(back.slices[0].probe.distance_sets,
            EveryField().slices[0].probe.distance_sets);
  EXPECT_TRUE(back.slices[1].probe.empty());
  EXPECT_TRUE(back.slices[1].use_last_sample);
  EXPECT_FALSE(back.slices[1].sample || back.slices[1].embed ||
               back.slices[1].hash_logits);
}

TEST(StepWireTest, PlansForksAndFreesComeBack) {
  const Step back = ParsedBack(EveryField());
  EXPECT_EQ(back.step_id, 8u);
  EXPECT_THAT(back.free_sequence_ids, ElementsAre(4, 5));
  ASSERT_EQ(back.plans.size(), 1u);
  EXPECT_EQ(back.plans[0].plan_id, 2u);
  EXPECT_EQ(*back.plans[0].plan, EveryFieldPlan());
  EXPECT_THAT(back.drop_plan_ids, ElementsAre(1, 3));
  ASSERT_EQ(back.forks.size(), 1u);
  EXPECT_EQ(back.forks[0].sequence_id, 21u);
  EXPECT_EQ(back.forks[0].from_sequence_id, 20u);
  EXPECT_EQ(back.forks[0].length, 64);
  EXPECT_EQ(back.forks[0].plan_id, 2u);
  EXPECT_EQ(back.forks[0].prompt_len, 70);
  ASSERT_EQ(back.parks.size(), static_cast<size_t>(kNumParkActions));
  for (uint64_t i = 0; i < back.parks.size(); ++i) {
    EXPECT_EQ(back.parks[i].sequence_id, 30 + i);
    EXPECT_EQ(back.parks[i].action, static_cast<ParkAction>(i));
    EXPECT_EQ(back.parks[i].plan_id, i == 2 ? 2u : 0u);
  }
}

TEST(StepWireTest, CountOfSlicesIsBounded) {
  worker::v1::StepRequest request;
  for (int i = 0; i <= 1 << 16; ++i) request.add_slices();
  const absl::Status status = ParseStep(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "step has 65537 slices, limit 65536");
}

TEST(StepWireTest, CountsOfPlansForksAndDistancesAreBounded) {
  const auto refusal = [](auto change) {
    worker::v1::StepRequest request;
    change(request);
    return std::string(ParseStep(request).status().message());
  };
  EXPECT_EQ(refusal([](auto& r) {
              for (int i = 0; i < 65; ++i) r.add_plans();
            }),
            "step has 65 plans, limit 64");
  EXPECT_EQ(refusal([](auto& r) {
              for (int i = 0; i < 65; ++i) r.add_drop_plan_ids(i);
            }),
            "step has 65 drop_plan_ids, limit 64");
  EXPECT_EQ(refusal([](auto& r) {
              for (int i = 0; i < 4097; ++i) r.add_forks();
            }),
            "step has 4097 forks, limit 4096");
  EXPECT_EQ(refusal([](auto& r) {
              worker::v1::Probe* probe = r.add_slices()->mutable_probe();
              for (int i = 0; i < 5; ++i) probe->add_distance_sets();
            }),
            "step has 5 distance_sets in a probe, limit 4");
  EXPECT_EQ(refusal([](auto& r) {
              worker::v1::DistanceSet* set =
                  r.add_slices()->mutable_probe()->add_distance_sets();
              for (int i = 0; i < 65; ++i) set->add_distances(i);
            }),
            "step has 65 distances in a set, limit 64");
}

TEST(StepWireTest, APlanThatCantBeReadIsNamed) {
  worker::v1::StepRequest request;
  request.add_plans()->set_plan_id(7);
  request.mutable_plans(0)->set_plan("no plan");
  const absl::Status status = ParseStep(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("plan 7: "));
}

TEST(StepAnswerWireTest, EveryFieldComesBack) {
  StepResult result;
  result.compute_seconds = 0.5;
  result.collective_seconds = 0.25;
  result.wait_seconds = 0.125;
  result.draws_digest = 0xfedcba9876543210;
  result.collective_bytes = 7;
  result.num_collectives = 3;
  result.results.resize(1);
  result.results[0].sequence_id = 4;
  result.results[0].has_token = true;
  result.results[0].token = 6;
  result.results[0].logprob = -1.5f;
  result.results[0].top = {{6, -1.5f}};
  result.results[0].score_logprobs = {-2.0f};
  result.results[0].contrast_logprobs = {-3.0f};
  result.results[0].logits_digests.resize(2);
  result.results[0].logits_digests[1][0] = 0xab;
  result.results[0].hidden = {1.0f, 2.0f};
  result.results[0].probes = {{.layer = 1,
                               .head = 2,
                               .argmax = {3, 4},
                               .argmax_prob = {0.5f, 0.25f},
                               .distance_probs = {0.0f, 1.0f}}};
  worker::v1::StepResponse response;
  WriteStepAnswer({2, 5, result}, &response);
  const auto back = ParseStepAnswer(response);
  ASSERT_TRUE(back.ok() && back->result.ok());
  EXPECT_EQ(back->membership_epoch, 2u);
  EXPECT_EQ(back->step_id, 5u);
  EXPECT_EQ(back->result->compute_seconds, 0.5);
  EXPECT_EQ(back->result->collective_seconds, 0.25);
  EXPECT_EQ(back->result->wait_seconds, 0.125);
  EXPECT_EQ(back->result->draws_digest, 0xfedcba9876543210);
  EXPECT_EQ(back->result->collective_bytes, 7);
  EXPECT_EQ(back->result->num_collectives, 3);
  ASSERT_EQ(back->result->results.size(), 1u);
  const SliceResult& slice = back->result->results[0];
  EXPECT_EQ(slice.sequence_id, 4u);
  EXPECT_TRUE(slice.has_token);
  EXPECT_EQ(slice.token, 6);
  EXPECT_EQ(slice.logprob, -1.5f);
  ASSERT_EQ(slice.top.size(), 1u);
  EXPECT_EQ(slice.top[0].token, 6);
  EXPECT_EQ(slice.top[0].logprob, -1.5f);
  EXPECT_THAT(slice.score_logprobs, ElementsAre(-2.0f));
  EXPECT_THAT(slice.contrast_logprobs, ElementsAre(-3.0f));
  EXPECT_EQ(slice.logits_digests, result.results[0].logits_digests);
  EXPECT_THAT(slice.hidden, ElementsAre(1.0f, 2.0f));
  ASSERT_EQ(slice.probes.size(), 1u);
  EXPECT_EQ(slice.probes[0].layer, 1);
  EXPECT_EQ(slice.probes[0].head, 2);
  EXPECT_THAT(slice.probes[0].argmax, ElementsAre(3, 4));
  EXPECT_THAT(slice.probes[0].argmax_prob, ElementsAre(0.5f, 0.25f));
  EXPECT_THAT(slice.probes[0].distance_probs, ElementsAre(0.0f, 1.0f));
}

TEST(StepAnswerWireTest, ErrorsCarryCodeAndMessage) {
  worker::v1::StepResponse response;
  WriteStepAnswer({2, 5, absl::ResourceExhaustedError("blocks")}, &response);
  const auto back = ParseStepAnswer(response);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->membership_epoch, 2u);
  EXPECT_EQ(back->step_id, 5u);
  EXPECT_EQ(back->result.status(), absl::ResourceExhaustedError("blocks"));
}

TEST(StepAnswerWireTest, ImpossibleAnswersAreErrors) {
  worker::v1::StepResponse response;
  response.set_status_code(17);
  EXPECT_FALSE(ParseStepAnswer(response).ok());
  response.set_status_code(-1);
  EXPECT_FALSE(ParseStepAnswer(response).ok());
  response.set_status_code(0);
  EXPECT_TRUE(ParseStepAnswer(response).ok());
  response.add_results()->set_logits_digests("short");
  EXPECT_THAT(ParseStepAnswer(response).status().message(),
              HasSubstr("logits_digests has 5 bytes"));
}

TEST(StepAnswerWireTest, MeasurementsAreClampedForTheMetrics) {
  worker::v1::StepResponse response;
  response.set_compute_seconds(std::numeric_limits<double>::quiet_NaN());
  response.set_collective_seconds(-1.0);
  response.set_collective_bytes(-5);
  response.set_num_collectives(std::numeric_limits<int64_t>::max());
  const auto answer = ParseStepAnswer(response);
  ASSERT_TRUE(answer.ok() && answer->result.ok());
  EXPECT_EQ(answer->result->compute_seconds, 0.0);
  EXPECT_EQ(answer->result->collective_seconds, 0.0);
  EXPECT_EQ(answer->result->collective_bytes, 0);
  EXPECT_EQ(answer->result->num_collectives, int64_t{1} << 40);
}

TEST(StepWireTest, OutcomesOfParksComeBack) {
  StepAnswer answer;
  answer.result = StepResult();
  answer.result->parks = {{absl::OkStatus(), 4096},
                          {absl::DataLossError("hash"), 0}};
  worker::v1::StepResponse wire;
  WriteStepAnswer(answer, &wire);
  const auto back = ParseStepAnswer(wire);
  ASSERT_TRUE(back.ok() && back->result.ok());
  ASSERT_EQ(back->result->parks.size(), 2u);
  EXPECT_TRUE(back->result->parks[0].status.ok());
  EXPECT_EQ(back->result->parks[0].bytes, 4096);
  EXPECT_EQ(back->result->parks[1].status, absl::DataLossError("hash"));
  wire.mutable_parks(1)->set_status_code(17);
  EXPECT_FALSE(ParseStepAnswer(wire).ok());
}

TEST(StepWireTest, ParkWithoutAnActionIsRefused) {
  worker::v1::StepRequest request;
  request.add_parks()->set_sequence_id(5);
  for (const int action : {0, 5}) {
    request.mutable_parks(0)->set_action(
        static_cast<worker::v1::ParkAction>(action));
    EXPECT_TRUE(absl::IsInvalidArgument(ParseStep(request).status())) << action;
  }
}

}  // namespace
}  // namespace headwise
