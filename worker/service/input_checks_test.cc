#include "worker/service/input_checks.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"
#include "worker/service/fake_executor.h"

namespace headwise {
namespace {

using testing::HasSubstr;

WorkerConfig Good() {
  WorkerConfig config;
  config.membership_epoch = 1;
  config.model_path = "m";
  config.rank = 0;
  config.world_size = 2;
  config.shard = WholeShard();
  config.max_step_tokens = 8;
  return config;
}

// One wrong field at a time, from a configuration that is accepted.
TEST(CheckConfigTest, EachFieldHasItsRange) {
  ASSERT_TRUE(CheckConfig(Good()).ok());
  const auto refused = [](auto change) {
    WorkerConfig config = Good();
    change(config);
    return absl::IsInvalidArgument(CheckConfig(config));
  };
  EXPECT_TRUE(refused([](auto& c) { c.membership_epoch = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.world_size = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.world_size = 65; }));
  EXPECT_TRUE(refused([](auto& c) { c.rank = 2; }));
  EXPECT_TRUE(refused([](auto& c) { c.rank = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.group = GroupChoice::kAuto; }));
  EXPECT_TRUE(refused([](auto& c) { c.model_path = ""; }));
  EXPECT_TRUE(refused([](auto& c) { c.model_path.assign(4097, 'x'); }));
  EXPECT_TRUE(refused([](auto& c) { c.model_sha256 = "abc"; }));
  EXPECT_TRUE(refused([](auto& c) { c.group_timeout = absl::ZeroDuration(); }));
  EXPECT_TRUE(refused([](auto& c) { c.group_timeout = absl::Hours(1); }));
  EXPECT_TRUE(refused([](auto& c) { c.kv_capacity_bytes = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.max_step_tokens = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.max_step_tokens = INT64_MAX; }));
}

TEST(CheckConfigTest, AGroupOfOtherNumericsOrAnUnknownProtocolIsRefused) {
  const BuildInfo& own = OwnBuild();
  WorkerConfig config = Good();
  config.numerics = own.numerics + 1;
  absl::Status status = CheckConfig(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            absl::StrCat("the group has numerics ", own.numerics + 1,
                         ", this worker of build ", own.version, " has ",
                         own.numerics, ": the bits of their answers differ"));
  for (const uint32_t protocol :
       {own.protocols.oldest - 1, own.protocols.newest + 1}) {
    config = Good();
    config.protocol = protocol;
    status = CheckConfig(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(),
              absl::StrCat("the group speaks protocol ", protocol,
                           ", this worker of build ", own.version, " speaks ",
                           TextOf(own.protocols)));
  }
}

TEST(CheckShardTest, PiecesExistAscendAndAgree) {
  const FakeModel model;
  const auto check = [&](const WorkerConfig& config) {
    return CheckShard(config, model.hyperparameters());
  };
  ASSERT_TRUE(check(Good()).ok()) << check(Good());
  const auto refused = [&](auto change) {
    WorkerConfig config = Good();
    change(config.shard);
    return absl::IsInvalidArgument(check(config));
  };
  EXPECT_TRUE(refused([](auto& s) { s.layers.pop_back(); }));
  EXPECT_TRUE(refused([](auto& s) { s.layers.emplace_back(); }));
  EXPECT_TRUE(refused([](auto& s) { s.layers[1].units = {0, 2}; }));
  EXPECT_TRUE(refused([](auto& s) { s.layers[1].units = {1, 0}; }));
  EXPECT_TRUE(refused([](auto& s) { s.layers[1].units = {1, 1}; }));
  EXPECT_TRUE(refused([](auto& s) { s.layers[0].mlp_tiles = {8}; }));
  EXPECT_TRUE(refused([](auto& s) { s.layers[0].mlp_tiles = {-1}; }));
  EXPECT_TRUE(refused([](auto& s) { s.vocab_tiles = {0}; }));
  EXPECT_TRUE(refused([](auto& s) { s.vocab_tile_rank = {0}; }));
  EXPECT_TRUE(refused([](auto& s) { s.vocab_tile_rank = {0, 2}; }));
  EXPECT_TRUE(refused([](auto& s) { s.vocab_tile_rank = {0, 1}; }));
  WorkerConfig idle = Good();  // a rank may hold nothing at all
  for (Shard::Layer& layer : idle.shard.layers) layer = {};
  idle.shard.vocab_tiles = {};
  idle.shard.vocab_tile_rank = {1, 1};
  EXPECT_TRUE(check(idle).ok()) << check(idle);
}

// Two layers of four heads in two KV heads, ten tokens.
Hyperparameters TinyModel() {
  Hyperparameters hyper = TinyHyperparameters(2, 4, 2);
  hyper.vocab_size = 10;
  return hyper;
}

Step GoodStep() {
  Step step;
  step.slices.resize(2);
  step.slices[0].tokens = {0, 9};
  step.slices[0].score_targets = {9, -1};
  step.slices[1].use_last_sample = true;
  step.slices[1].sample = true;
  return step;
}

TEST(CheckStepTest, EachFieldHasItsRange) {
  const auto check = [](const Step& step) {
    return CheckStep(step, TinyModel(), 3);
  };
  ASSERT_TRUE(check(GoodStep()).ok()) << check(GoodStep());
  const auto refused = [&](auto change) {
    Step step = GoodStep();
    change(step);
    return absl::IsInvalidArgument(check(step));
  };
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].tokens = {}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].tokens = {0, 10}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].tokens = {0, -1}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].score_targets = {1}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].score_targets = {1, 10}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].score_targets = {1, -2}; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].first_position = -1; }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[1].tokens = {1}; }));
  EXPECT_TRUE(refused([](auto& s) {
    s.slices.push_back(s.slices[1]);  // four rows, allowed three
  }));
  EXPECT_TRUE(refused([](auto& s) { s.free_sequence_ids.resize(65537); }));
  EXPECT_TRUE(refused([](auto& s) { s.slices[0].prompt_len = -1; }));
}

TEST(CheckStepTest, ParksComeAloneAndBounded) {
  const auto check = [](const Step& step) {
    return CheckStep(step, TinyModel(), 3);
  };
  Step step;
  step.parks.resize(kMaxParks);
  EXPECT_TRUE(check(step).ok()) << check(step);
  step.parks.resize(kMaxParks + 1);
  EXPECT_TRUE(absl::IsInvalidArgument(check(step)));
  step = GoodStep();
  step.parks.resize(1);
  EXPECT_TRUE(absl::IsInvalidArgument(check(step)));
  step.slices.clear();
  step.forks = {{.sequence_id = 2, .from_sequence_id = 1, .length = 1}};
  EXPECT_TRUE(absl::IsInvalidArgument(check(step)));
}

TEST(CheckStepTest, ProbesAreBounded) {
  const auto check = [](const ProbeRequest& probe, int64_t num_rows) {
    Step step;
    step.slices.resize(1);
    step.slices[0].tokens.resize(num_rows);
    step.slices[0].probe = probe;
    return std::string(CheckStep(step, TinyModel(), 1 << 20).message());
  };
  ProbeRequest probe = {
      .argmax = true,
      .distance_sets = {4, std::vector<int64_t>(64, int64_t{1} << 40)}};
  EXPECT_EQ(check(probe, 3), "");
  // 8 heads, 6 values of 4 bytes each: 192 bytes a row of 32 MiB.
  EXPECT_EQ(check(probe, 174762), "");
  EXPECT_THAT(check(probe, 174763), HasSubstr("bytes of the step's probes"));
  probe.distance_sets.push_back({1});
  EXPECT_EQ(check(probe, 1), "distance_sets of a probe is 5, allowed 0 to 4");
  probe.distance_sets = {std::vector<int64_t>(65, 1)};
  EXPECT_EQ(check(probe, 1), "distances of a set is 65, allowed 0 to 64");
  probe.distance_sets = {{-1}};
  EXPECT_THAT(check(probe, 1), HasSubstr("distance of a probe is -1"));
}

TEST(CheckStepTest, PlansMustFitTheModel) {
  const auto check = [](const std::vector<NumberedPlan>& plans) {
    Step step;
    step.plans = plans;
    return std::string(CheckStep(step, TinyModel(), 3).message());
  };
  const auto good = std::make_shared<const HeadPlan>(FullPlan(2, 4, 2));
  EXPECT_EQ(check({{1, good}, {2, good}}), "");
  EXPECT_EQ(check({{0, good}}), "plan_id 0 is 0 or twice in one step");
  EXPECT_EQ(check({{1, good}, {1, good}}),
            "plan_id 1 is 0 or twice in one step");
  EXPECT_THAT(check({{3, std::make_shared<const HeadPlan>(FullPlan(2, 4, 1))}}),
              testing::AllOf(HasSubstr("plan 3"), HasSubstr("num_kv_heads")));
  HeadPlan bad = *good;
  bad.units[1].window = 7;  // of a full unit
  EXPECT_THAT(check({{3, std::make_shared<const HeadPlan>(bad)}}),
              HasSubstr("units[1]"));
  std::vector<NumberedPlan> many;
  for (uint64_t id = 1; id <= 65; ++id) many.push_back({id, good});
  EXPECT_EQ(check(many), "plans is 65, allowed 0 to 64");
  Step step;
  step.drop_plan_ids.resize(65);
  EXPECT_FALSE(CheckStep(step, TinyModel(), 3).ok());
}

TEST(CheckStepTest, ForksAreInRange) {
  const auto check = [](const Fork& fork) {
    Step step;
    step.forks = {fork};
    return CheckStep(step, TinyModel(), 3).ok();
  };
  const Fork good = {.sequence_id = 2, .from_sequence_id = 1, .length = 5};
  EXPECT_TRUE(check(good));
  const auto refused = [&](auto change) {
    Fork fork = good;
    change(fork);
    return !check(fork);
  };
  EXPECT_TRUE(refused([](auto& f) { f.length = 0; }));
  EXPECT_TRUE(refused([](auto& f) { f.length = INT64_MAX; }));
  EXPECT_TRUE(refused([](auto& f) { f.prompt_len = -1; }));
  EXPECT_TRUE(refused([](auto& f) { f.from_sequence_id = 2; }));
  Step step;
  step.forks.resize(4097, good);
  EXPECT_FALSE(CheckStep(step, TinyModel(), 3).ok());
}

TEST(CheckStepTest, SamplingOptionsAreChecked) {
  const auto refused = [](auto change) {
    Step step = GoodStep();
    change(step.slices[1].sampling);
    return absl::IsInvalidArgument(CheckStep(step, TinyModel(), 3));
  };
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(refused([&](auto& s) { s.temperature = nan; }));
  EXPECT_TRUE(refused([&](auto& s) { s.temperature = infinity; }));
  EXPECT_TRUE(refused([&](auto& s) { s.temperature = -0.1f; }));
  EXPECT_TRUE(refused([&](auto& s) { s.top_p = 0.0f; }));
  EXPECT_TRUE(refused([&](auto& s) { s.top_p = nan; }));
  EXPECT_TRUE(refused([&](auto& s) { s.min_p = 1.0f; }));
  EXPECT_TRUE(refused([&](auto& s) { s.repetition_penalty = 0.0f; }));
  EXPECT_TRUE(refused([&](auto& s) { s.top_k = -1; }));
  EXPECT_TRUE(refused([&](auto& s) { s.top_logprobs = 21; }));
}

}  // namespace
}  // namespace headwise
