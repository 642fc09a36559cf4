#include "lab/duo_gates/gate_samples.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

Hyperparameters Shape() {
  Hyperparameters hyper;
  hyper.num_layers = 2;
  hyper.max_context_len = 4096;
  return hyper;
}

std::string MessageFor(const GateOptions& options) {
  return std::string(CheckGateOptions(options, Shape()).message());
}

TEST(GateOptions, DefaultsAreAccepted) {
  EXPECT_TRUE(CheckGateOptions({}, Shape()).ok());
}

TEST(GateOptions, RefusesNameTheFlagTheValueAndTheLimit) {
  EXPECT_EQ(MessageFor({.num_steps = 0}), "steps: 0 is outside [1, 100000]");
  EXPECT_EQ(MessageFor({.length = 320}), "length: 320 is outside [321, 4096]");
  EXPECT_EQ(MessageFor({.length = 4097}),
            "length: 4097 is outside [321, 4096]");
  EXPECT_EQ(MessageFor({.length = 500, .min_length = 501}),
            "min-length: 501 is outside [321, 500]");
  EXPECT_EQ(MessageFor({.num_needles = 17}), "needles: 17 is outside [1, 16]");
  EXPECT_EQ(MessageFor({.num_words = 33}), "words: 33 is outside [1, 32]");
  EXPECT_THAT(MessageFor({.window = 0}), HasSubstr("window: 0"));
  EXPECT_THAT(MessageFor({.l1_weight = std::nan("")}), HasSubstr("l1: nan"));
  EXPECT_THAT(MessageFor({.learning_rate = 0.0}),
              HasSubstr("learning-rate: 0"));
  EXPECT_THAT(MessageFor({.segment_layers = 3}),
              HasSubstr("segment-layers: 3 is outside [0, 2]"));
}

TEST(GateSamples, AreFunctionsOfSeedAndStepWithinTheLengths) {
  const ByteTokenizer tokenizer;
  const auto haystack = Haystack::Create(tokenizer, "");
  ASSERT_TRUE(haystack.ok());
  const GateOptions options = {.length = 3000, .min_length = 1500};
  std::set<size_t> lengths;
  for (int64_t step = 0; step < 20; ++step) {
    const auto sample = MakeGateSample(*haystack, options, step);
    ASSERT_TRUE(sample.ok()) << sample.status();
    lengths.insert(sample->tokens.size());
    EXPECT_LE(sample->tokens.size(), 3000u);
    EXPECT_GT(sample->num_labelled(), 0);
    EXPECT_EQ(MakeGateSample(*haystack, options, step)->tokens, sample->tokens);
  }
  EXPECT_GT(lengths.size(), 10u);
}

TEST(GateSamples, LabelQuestionAndAllPassKeys) {
  const ByteTokenizer tokenizer;
  const auto haystack = Haystack::Create(tokenizer, "");
  ASSERT_TRUE(haystack.ok());
  const auto sample =
      MakeGateSample(*haystack, {.length = 2000, .num_needles = 2}, 0);
  ASSERT_TRUE(sample.ok()) << sample.status();
  const std::string text = tokenizer.Decode(
      absl::MakeConstSpan(sample->tokens)
          .subspan(static_cast<size_t>(sample->first_labelled)),
      false);
  EXPECT_THAT(text, testing::ContainsRegex(
                        "All pass keys.*: The pass key.*The pass key"));
}

TEST(GateSamples, WithoutRoomForNeedlesAreRefused) {
  const ByteTokenizer tokenizer;
  const auto haystack = Haystack::Create(tokenizer, "");
  ASSERT_TRUE(haystack.ok());
  const auto sample =
      MakeGateSample(*haystack, {.length = 400, .num_needles = 16}, 0);
  EXPECT_EQ(sample.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace headwise
