#include "lab/duo_gates/gate_trainer.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lab/duo_gates/toy_model.h"
#include "model/head_scores/head_scores_json.h"
#include "model/head_scores/plan_from_scores.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

GateOptions ToyTraining() {
  return {.num_steps = 80,
          .length = 32,
          .num_sinks = 1,
          .window = 4,
          .learning_rate = 0.05};
}

GateTrainer MakeTrainer(const TorchModel& model, const GateOptions& options) {
  return GateTrainer(model, std::string(64, 'a'), options, [](int64_t step) {
    return RandomSample(32, static_cast<uint64_t>(step));
  });
}

void RunSteps(GateTrainer& trainer, int64_t count) {
  for (int64_t i = 0; i < count; ++i) ASSERT_TRUE(trainer.Step().ok());
}

class GateTrainerTest : public testing::Test {
 protected:
  ~GateTrainerTest() override { std::filesystem::remove(path_); }

  const std::string path_ =
      testing::TempDir() + "gates_" + std::to_string(getpid()) + ".state";
};

TEST(LearningRate, RisesHoldsAndFallsToATenth) {
  EXPECT_DOUBLE_EQ(LearningRateFactor(0, 100), 0.1);  // 1/20, but the floor
  EXPECT_DOUBLE_EQ(LearningRateFactor(9, 100), 0.5);
  EXPECT_DOUBLE_EQ(LearningRateFactor(19, 100), 1.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(80, 100), 1.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(90, 100), 0.5);
  EXPECT_DOUBLE_EQ(LearningRateFactor(99, 100), 0.1);
  EXPECT_DOUBLE_EQ(LearningRateFactor(0, 1), 1.0);
}

TEST_F(GateTrainerTest, TheUnitThatMattersKeepsItsGateAndTheOthersLoseTheirs) {
  const TorchModel model(*OpenToyWithUnit(/*layer=*/1, /*kv_head=*/1, 4.0f));
  GateTrainer trainer = MakeTrainer(model, ToyTraining());
  RunSteps(trainer, 80);
  EXPECT_TRUE(trainer.done());
  const HeadScores scores = trainer.Scores();
  ASSERT_TRUE(CheckHeadScores(scores).ok());
  for (size_t unit = 0; unit < 6; ++unit) {
    if (unit == 3) {
      EXPECT_GT(scores.units[unit], 0.8);
    } else {
      EXPECT_LT(scores.units[unit], 0.05) << unit;
    }
  }
  const auto plan = PlanFromScores(scores, {.fraction = 1.0 / 6});
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (size_t unit = 0; unit < 6; ++unit) {
    EXPECT_EQ(plan->units[unit].kind == PolicyKind::kFull, unit == 3);
  }
  const auto read = ParseHeadScores("scores", HeadScoresToJson(scores).dump());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, scores);
}

TEST_F(GateTrainerTest, ARunThatGoesOnEndsAsOneThatWasNotInterrupted) {
  const TorchModel model(*OpenToy());
  GateOptions options = ToyTraining();
  options.num_steps = 12;
  GateTrainer whole = MakeTrainer(model, options);
  RunSteps(whole, 12);
  GateTrainer first = MakeTrainer(model, options);
  RunSteps(first, 5);
  ASSERT_TRUE(first.Save(path_).ok());
  GateTrainer second = MakeTrainer(model, options);
  const absl::Status loaded = second.Load(path_);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(second.step(), 5);
  RunSteps(second, 7);
  for (size_t unit = 0; unit < 6; ++unit) {
    EXPECT_NEAR(second.Scores().units[unit], whole.Scores().units[unit], 1e-5);
  }
}

TEST_F(GateTrainerTest, AStateOfAnotherRunIsRefusedAndTheDifferenceNamed) {
  const TorchModel model(*OpenToy());
  GateTrainer trainer = MakeTrainer(model, ToyTraining());
  ASSERT_TRUE(trainer.Save(path_).ok());
  GateOptions other = ToyTraining();
  other.window = 5;
  GateTrainer stranger = MakeTrainer(model, other);
  const absl::Status status = stranger.Load(path_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("window is 4, not 5"));
}

TEST_F(GateTrainerTest, AFileThatIsNoStateIsRefused) {
  const TorchModel model(*OpenToy());
  std::ofstream(path_) << "not a state";
  GateTrainer trainer = MakeTrainer(model, ToyTraining());
  const absl::Status status = trainer.Load(path_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
}

TEST_F(GateTrainerTest, ALossThatIsNotFiniteEndsTheRunAtTheStepBefore) {
  const TorchModel model(
      *OpenToyWithUnit(1, 1, std::numeric_limits<float>::infinity()));
  GateTrainer trainer = MakeTrainer(model, ToyTraining());
  const auto step = trainer.Step();
  EXPECT_EQ(step.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(trainer.step(), 0);
  EXPECT_EQ(trainer.Scores().units, std::vector<double>(6, 1.0));
}

}  // namespace
}  // namespace headwise
