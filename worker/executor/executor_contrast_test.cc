// Sequences whose rows run under a second plan too.

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_plan_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

std::shared_ptr<const HeadPlan> MaskedFrom(int64_t layer) {
  auto plan = FullPlan();
  plan->heads[static_cast<size_t>(layer * kHeads + 1)].mask =
      HeadMask::kUniform;
  plan->heads.back().mask = HeadMask::kZero;
  return plan;
}

// A document that is scored under its plan and under its contrast.
struct Document {
  uint64_t id = 0;
  std::vector<int32_t> tokens;
  uint64_t plan_id = 0;
  uint64_t contrast_plan_id = 0;
};

struct Scores {
  std::vector<float> base, contrast;
  bool operator==(const Scores&) const = default;
};

// All documents together, `chunk` rows of each in a step.
std::vector<Scores> ScoreAll(Cluster& cluster,
                             const std::vector<NumberedPlan>& plans,
                             const std::vector<Document>& documents,
                             int64_t chunk) {
  std::vector<Scores> scores(documents.size());
  for (int64_t begin = 0;; begin += chunk) {
    Step step;
    if (begin == 0) step.plans = plans;
    std::vector<size_t> places;
    for (size_t i = 0; i < documents.size(); ++i) {
      const Document& document = documents[i];
      const auto count = static_cast<int64_t>(document.tokens.size());
      if (begin >= count) continue;
      Slice slice = ScoreSlice(document.id, document.tokens, begin,
                               std::min(begin + chunk, count));
      slice.plan_id = document.plan_id;
      slice.contrast_plan_id = document.contrast_plan_id;
      slice.prompt_len = count;
      step.slices.push_back(std::move(slice));
      places.push_back(i);
    }
    if (places.empty()) return scores;
    const absl::StatusOr<StepResult> result = cluster.Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return scores;
    for (size_t i = 0; i < places.size(); ++i) {
      const SliceResult& slice = result->results[i];
      Scores& to = scores[places[i]];
      to.base.insert(to.base.end(), slice.score_logprobs.begin(),
                     slice.score_logprobs.end());
      to.contrast.insert(to.contrast.end(), slice.contrast_logprobs.begin(),
                         slice.contrast_logprobs.end());
    }
  }
}

std::vector<NumberedPlan> Plans() {
  return {{1, MaskedFrom(0)},
          {2, MaskedFrom(1)},
          {3, MaskedFrom(2)},
          {4, MixedPlan()},
          {5, FullPlan()}};
}

// Contrasts that begin in every layer, at none, under a plan that drops, and
// documents without one.
std::vector<Document> Documents() {
  return {{1, SomeTokens(300, 1), 0, 1}, {2, SomeTokens(70, 2), 0, 2},
          {3, SomeTokens(411, 3), 0, 3}, {4, SomeTokens(290, 4), 0, 4},
          {5, SomeTokens(33, 5), 0, 5},  {6, SomeTokens(150, 6), 0, 0},
          {7, SomeTokens(200, 7), 4, 2}, {8, SomeTokens(64, 8), 2, 3}};
}

// The same documents as two sequences each.
std::vector<Scores> ScoreApart(Cluster& cluster) {
  std::vector<Document> apart;
  for (const Document& document : Documents()) {
    apart.push_back({document.id, document.tokens, document.plan_id, 0});
    if (document.contrast_plan_id == 0) continue;
    apart.push_back(
        {document.id + 100, document.tokens, document.contrast_plan_id, 0});
  }
  const std::vector<Scores> all = ScoreAll(cluster, Plans(), apart, 512);
  std::vector<Scores> scores;
  for (size_t i = 0; i < apart.size(); ++i) {
    if (apart[i].id < 100) {
      scores.push_back({all[i].base, {}});
    } else {
      scores.back().contrast = all[i].base;
    }
  }
  return scores;
}

TEST(ExecutorContrastTest, EqualsASequenceOfItsOwnToTheBit) {
  const TinyModel model(ModelOptions());
  Cluster alone(*model, 1, Options());
  const std::vector<Scores> expected = ScoreApart(alone);
  for (const int world_size : {1, 2, 3}) {
    for (const int64_t chunk : {512, 100, 3}) {
      Cluster cluster(*model, world_size, Options(2));
      EXPECT_EQ(ScoreAll(cluster, Plans(), Documents(), chunk), expected)
          << world_size << " ranks, chunks of " << chunk;
    }
  }
  Cluster cut(*model, 2, Options(), {0, 1, 1});
  EXPECT_EQ(ScoreAll(cut, Plans(), Documents(), 128), expected);
}

TEST(ExecutorContrastTest, EqualPlansGiveEqualScores) {
  const TinyModel model(ModelOptions());
  Cluster cluster(*model, 2, Options());
  const std::vector<Scores> scores =
      ScoreAll(cluster, Plans(), {{1, SomeTokens(200), 0, 5}}, 64);
  EXPECT_EQ(scores[0].base, scores[0].contrast);
}

TEST(ExecutorContrastTest, FreeReturnsBothCaches) {
  const TinyModel model(ModelOptions());
  Cluster cluster(*model, 2, Options());
  ScoreAll(cluster, Plans(), Documents(), 100);
  EXPECT_GT(cluster.rank(0).kv_bytes_used(), 0);
  Step step;
  for (const Document& document : Documents()) {
    step.free_sequence_ids.push_back(document.id);
  }
  ASSERT_TRUE(cluster.Run(step).ok());
  for (const int rank : {0, 1}) {
    EXPECT_EQ(cluster.rank(rank).kv_bytes_used(), 0);
  }
}

TEST(ExecutorContrastTest, RefusesWhatContradictsTheBooks) {
  const TinyModel model(ModelOptions());
  Cluster cluster(*model, 1, Options());
  const auto refusal = [&](uint64_t id, int64_t begin, uint64_t contrast) {
    Step step;
    step.slices.push_back(ScoreSlice(id, SomeTokens(40), begin, begin + 20));
    step.slices[0].contrast_plan_id = contrast;
    return std::string(cluster.Run(step).status().message());
  };
  EXPECT_THAT(refusal(1, 0, 9), HasSubstr("plan 9 is not here"));
  EXPECT_THAT(refusal(uint64_t{1} << 63, 0, 0), HasSubstr("2^63"));
  ScoreAll(cluster, Plans(), {{1, SomeTokens(20), 0, 2}}, 20);
  EXPECT_THAT(refusal(1, 20, 0),
              HasSubstr("contrast_plan_id 0, its slices had 2"));
  EXPECT_EQ(refusal(1, 20, 2), "");
}

}  // namespace
}  // namespace headwise
