#include "lab/titans/titans_trainer.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lab/titans/titans_recall.h"
#include "lab/titans/titans_run.h"
#include "lab/titans/toy_titans.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

TitansTraining ToyTraining() {
  return {.num_steps = 6,
          .num_sequences = 2,
          .min_length = 16,
          .length = 32,
          .num_pairs = 2};
}

TitansText ToyText() { return {.train = "a text. ", .held_out = "another. "}; }

void RunSteps(TitansTrainer& trainer, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto step = trainer.Step();
    ASSERT_TRUE(step.ok()) << step.status();
  }
}

class TitansTrainerTest : public testing::Test {
 protected:
  ~TitansTrainerTest() override { std::filesystem::remove(path_); }

  const std::string path_ =
      testing::TempDir() + "titans_" + std::to_string(getpid()) + ".state";
  const TitansText text_ = ToyText();
};

TEST(TitansSchedule, RateRisesThenFallsToATwentieth) {
  EXPECT_DOUBLE_EQ(TitansRateFactor(0, 100), 0.2);
  EXPECT_DOUBLE_EQ(TitansRateFactor(3, 100), 0.8);
  EXPECT_NEAR(TitansRateFactor(50, 100), 0.525, 1e-12);
  EXPECT_NEAR(TitansRateFactor(99, 100), 0.05, 1e-3);
}

TEST(TitansSchedule, PenaltyStartsOnceThereIsSomethingToKeep) {
  EXPECT_EQ(PenaltyFactor(0, 100), 0.0);
  EXPECT_NEAR(PenaltyFactor(10, 100), 0.4, 1e-12);
  EXPECT_EQ(PenaltyFactor(25, 100), 1.0);
  EXPECT_EQ(PenaltyFactor(80, 100), 1.0);
}

TEST(TitansSchedule, LengthsAreMultiplesUpToALimitThatRises) {
  const TitansTraining training = {
      .num_steps = 100, .min_length = 64, .length = 256};
  for (int64_t step = 0; step < 100; ++step) {
    Draws draws(0, static_cast<uint64_t>(step));
    const int64_t length = LengthOfStep(training, step, draws);
    EXPECT_EQ(length % 64, 0);
    EXPECT_LE(length, step < 12 ? 64 : 256);
  }
}

TEST(TitansTraining, RefusesNameTheOptionTheValueAndTheLimit) {
  const auto message = [](const TitansTraining& training) {
    return std::string(
        CheckTitansTraining(training, ToyTitans(TitansVariant::kLmm))
            .message());
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.num_steps = 0}), "steps: 0 is outside [1, 1000000]");
  EXPECT_EQ(message({.num_pairs = 65}), "pairs: 65 is outside [1, 14]");
  EXPECT_EQ(message({.min_length = 66, .length = 132}),
            "min-length: 66 is not a multiple of 4");
  EXPECT_EQ(message({.min_length = 64, .length = 96}),
            "length: 96 is not a multiple of 64");
  EXPECT_THAT(message({.gate_penalty = std::nan("")}),
              HasSubstr("gate-penalty: nan"));
}

TEST(MemoryGrowthTest, CountsWhatGoesBeyondTwiceTheSquaredNorm) {
  torch::manual_seed(3);
  const TitansWeights weights(ToyTitans(TitansVariant::kMal));
  TitansState state = BeginTitans(weights, /*num_sequences=*/2);
  EXPECT_EQ(MemoryGrowth(weights, state).item<float>(), 0.0f);
  for (TitansLayerState& layer : state.layers) {
    for (torch::Tensor& part : layer.memory.weights) part = part * 2;
  }
  EXPECT_NEAR(MemoryGrowth(weights, state).item<float>(), std::log(2.0), 1e-5);
}

TEST(TitansPresets, AreKnownOrRefusedByName) {
  for (const char* name : {"smallest", "mac-recall", "swa-text",
                           "lmm-recall-linear", "mal-text-keep"}) {
    const auto run = TitansPreset(name);
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_TRUE(CheckTitansShape(run->hyper).ok()) << name;
    EXPECT_TRUE(CheckTitansTraining(run->training, run->hyper).ok()) << name;
  }
  for (const char* name : {"", "lmm", "lmm-recall-", "abc-recall"}) {
    EXPECT_EQ(TitansPreset(name).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST_F(TitansTrainerTest, ARunThatGoesOnEndsAsOneThatWasNotInterrupted) {
  const Hyperparameters hyper = ToyTitans(TitansVariant::kMag);
  TitansTrainer whole(hyper, ToyTraining(), text_);
  RunSteps(whole, 6);
  EXPECT_TRUE(whole.done());
  TitansTrainer first(hyper, ToyTraining(), text_);
  RunSteps(first, 3);
  ASSERT_TRUE(first.Save(path_).ok());
  TitansTrainer second(hyper, ToyTraining(), text_);
  const absl::Status loaded = second.Load(path_);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(second.step(), 3);
  RunSteps(second, 3);
  for (size_t i = 0; i < whole.weights().named().size(); ++i) {
    const auto& [name, tensor] = whole.weights().named()[i];
    EXPECT_TRUE(
        torch::allclose(second.weights().named()[i].second, tensor, 1e-5, 1e-6))
        << name;
  }
}

TEST_F(TitansTrainerTest, AStateOfAnotherRunIsRefusedAndTheDifferenceNamed) {
  const Hyperparameters hyper = ToyTitans(TitansVariant::kLmm);
  TitansTrainer trainer(hyper, ToyTraining(), text_);
  ASSERT_TRUE(trainer.Save(path_).ok());
  TitansTraining other = ToyTraining();
  other.num_pairs = 3;
  TitansTrainer stranger(hyper, other, text_);
  const absl::Status status = stranger.Load(path_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("pairs is 2, not 3"));
}

TEST_F(TitansTrainerTest, AFileThatIsNoStateIsRefused) {
  std::ofstream(path_) << "not a state";
  TitansTrainer trainer(ToyTitans(TitansVariant::kLmm), ToyTraining(), text_);
  const absl::Status status = trainer.Load(path_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
}

// A memory that learns a thousand times too fast.
TEST_F(TitansTrainerTest, StepsThatRunAwayAreSkippedAndTooManyEndTheRun) {
  Hyperparameters hyper = ToyTitans(TitansVariant::kLmm);
  hyper.titans->theta_max = 1e3f;
  TitansTraining training = ToyTraining();
  training.theta_bias = 10.0;
  training.num_steps = 40;
  TitansTrainer trainer(hyper, training, text_);
  std::vector<torch::Tensor> before;
  for (const auto& [name, tensor] : trainer.weights().named()) {
    before.push_back(tensor.detach().clone());
  }
  for (int64_t i = 0; i < 3; ++i) {
    const auto step = trainer.Step();
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_TRUE(step->is_skipped);
  }
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(torch::equal(trainer.weights().named()[i].second, before[i]));
  }
  EXPECT_EQ(trainer.Step().status().code(), absl::StatusCode::kInternal);
}

// Steps of every variant, at both tasks, without a NaN.
TEST_F(TitansTrainerTest, EveryVariantTakesSteps) {
  for (const TitansVariant variant : AllTitansVariants()) {
    for (const bool is_recall : {true, false}) {
      TitansTraining training = ToyTraining();
      training.is_recall = is_recall;
      training.detach_chunks = 2;
      TitansTrainer trainer(ToyTitans(variant), training, text_);
      RunSteps(trainer, 6);
      EXPECT_TRUE(std::isfinite(TextLoss(trainer.weights(), text_.held_out, 8,
                                         /*num_windows=*/1)));
    }
  }
}

// A model that knows nothing recalls nothing, and its open gates are counted.
TEST_F(TitansTrainerTest, RecallOfAnUntrainedModelIsChance) {
  const TitansTrainer trainer(ToyTitans(TitansVariant::kLmm), ToyTraining(),
                              text_);
  const RecallResult result =
      MeasureRecall(trainer.weights(), text_.held_out,
                    {.context = 1024, .num_pairs = 8, .num_sequences = 2});
  EXPECT_EQ(result.num_asked, 16);
  EXPECT_LT(result.num_recalled, 4);
  EXPECT_EQ(result.theta_share, 1.0);
  EXPECT_EQ(result.alpha_share, 0.0);  // starts where it is clamped
}

TEST(RecallTestCheck, RefusesNameTheOptionTheValueAndTheLimit) {
  const auto message = [](const RecallTest& test) {
    return std::string(CheckRecallTest(test).message());
  };
  EXPECT_EQ(message({}), "");
  EXPECT_THAT(message({.context = 1000}), HasSubstr("context: 1000"));
  EXPECT_THAT(message({.num_pairs = 65}), HasSubstr("pairs: 65"));
  EXPECT_THAT(message({.num_sequences = 0}), HasSubstr("sequences: 0"));
}

}  // namespace
}  // namespace headwise
