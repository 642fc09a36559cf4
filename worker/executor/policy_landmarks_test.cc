// What landmark attention promises (Mohtashami and Jaggi, 2305.16300).

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "worker/executor/policy_conformance_unit.h"

namespace headwise {
namespace {

constexpr int64_t kChunkLen = 64;
constexpr int64_t kLength = 500;  // in the chunk of index 7

UnitCase CaseOf(int64_t num_chunks, bool slot_positions) {
  UnitCase c;
  c.policy = Chunked(PolicyKind::kLandmark, kChunkLen, num_chunks, true);
  c.policy.slot_positions = slot_positions;
  return c;
}

bool IsLandmark(int64_t position) {
  return position % kChunkLen == kChunkLen - 1;
}

// Scores of the query at t, rotated by its position, with all that it may see.
std::vector<double> ScoresAt(const UnitCase& c, const UnitInputs& inputs,
                             int64_t t, int64_t head) {
  UnitCase full = c;
  full.policy = UnitPolicy();
  const PolicyReference reference = ReferenceOf(full, inputs);
  const std::vector<double> query = reference.QueryAt(t, head, t);
  std::vector<double> scores;
  for (int64_t j = 0; j <= t; ++j) {
    double score = 0.0;
    for (int64_t d = 0; d < c.head_dim; ++d) {
      score += query[d] * reference.unit().keys[j * c.head_dim + d];
    }
    scores.push_back(score);
  }
  return scores;
}

// Weights over [0, t] by the paper's words: the softmax over the current chunk
// and all landmarks, then each landmark's weight over its chunk.
std::vector<double> GroupedSoftmax(const std::vector<double>& scores) {
  const auto t = static_cast<int64_t>(scores.size()) - 1;
  const int64_t own = t / kChunkLen;
  double current = 0.0;
  std::vector<double> of_chunk(static_cast<size_t>(own), 0.0);
  for (int64_t j = 0; j <= t; ++j) {
    const bool is_earlier = j / kChunkLen < own;
    if (!is_earlier || IsLandmark(j)) current += std::exp(scores[j]);
    if (is_earlier && !IsLandmark(j)) {
      of_chunk[j / kChunkLen] += std::exp(scores[j]);
    }
  }
  std::vector<double> weights;
  for (int64_t j = 0; j <= t; ++j) {
    const int64_t chunk = j / kChunkLen;
    if (chunk == own) {
      weights.push_back(std::exp(scores[j]) / current);
    } else if (IsLandmark(j)) {
      weights.push_back(0.0);
    } else {
      const double landmark =
          std::exp(scores[(chunk + 1) * kChunkLen - 1]) / current;
      weights.push_back(std::exp(scores[j]) / of_chunk[chunk] * landmark);
    }
  }
  return weights;
}

TEST(LandmarkRulesTest, WhileAllChunksFitItIsTheFullGroupedSoftmax) {
  const UnitInputs inputs = RandomInputs(CaseOf(8, false), kLength, 21);
  for (const bool slots : {false, true}) {
    const UnitCase c = CaseOf(8, slots);
    UnitUnderTest unit(c, inputs);
    unit.FeedAll(kLength, 100);
    for (const int64_t t : {int64_t{62}, int64_t{63}, int64_t{64}, int64_t{127},
                            int64_t{200}, kLength - 1}) {
      const std::vector<double> weights =
          GroupedSoftmax(ScoresAt(c, inputs, t, 1));
      double sum = 0.0;
      std::vector<double> out(static_cast<size_t>(c.head_dim));
      for (int64_t j = 0; j <= t; ++j) {
        sum += weights[j];
        for (int64_t d = 0; d < c.head_dim; ++d) {
          out[d] += weights[j] * inputs.values[j * c.head_dim + d];
        }
      }
      EXPECT_NEAR(sum, 1.0, 1e-12);
      for (int64_t d = 0; d < c.head_dim; ++d) {
        ASSERT_NEAR(unit.out(t, 1)[d], out[d], 1e-5) << t << " " << slots;
      }
    }
  }
}

TEST(LandmarkRulesTest, WeightsOfWhatIsSeenSumToOne) {
  for (const bool slots : {false, true}) {
    const UnitCase c = CaseOf(4, slots);
    UnitInputs inputs = RandomInputs(c, kLength, 22);
    std::fill(inputs.values.begin(), inputs.values.end(), 1.0f);
    for (const float x : Outputs(c, inputs, 128)) ASSERT_NEAR(x, 1.0f, 1e-6f);
  }
}

// In its own chunk a landmark is a token like others, also as a query.
TEST(LandmarkRulesTest, TheFirstChunkIsFullAttention) {
  const UnitCase c = CaseOf(3, false);
  const UnitInputs inputs = RandomInputs(c, kChunkLen, 23);
  UnitCase full = c;
  full.policy = UnitPolicy();
  EXPECT_EQ(Outputs(c, inputs, 10), Outputs(full, inputs, 10));
}

// A landmark that scores the log-sum-exp of its chunk's others changes nothing:
// the result is full attention to all but landmarks. Keys are not rotated here.
TEST(LandmarkRulesTest, PerfectLandmarksGiveOrdinaryAttention) {
  UnitCase c = CaseOf(8, false);
  c.rotates = false;
  c.heads_per_kv_head = 1;
  const int64_t dim = c.head_dim;
  UnitInputs inputs = RandomInputs(c, kLength, 24);
  const std::vector<double> scores = ScoresAt(c, inputs, kLength - 1, 0);
  const float* query = inputs.queries.data() + (kLength - 1) * dim;
  double square = 0.0;
  for (int64_t d = 0; d < dim; ++d) square += double{query[d]} * query[d];
  UnitInputs ordinary;
  for (int64_t j = 0; j < kLength; ++j) {
    if (!IsLandmark(j)) {
      const auto add = [&](const std::vector<float>& from,
                           std::vector<float>* to) {
        to->insert(to->end(), from.begin() + j * dim,
                   from.begin() + (j + 1) * dim);
      };
      add(inputs.queries, &ordinary.queries);
      add(inputs.keys, &ordinary.keys);
      add(inputs.values, &ordinary.values);
      continue;
    }
    double mass = 0.0;
    for (int64_t i = j - kChunkLen + 1; i < j; ++i) mass += std::exp(scores[i]);
    const double factor = std::log(mass) / (square * c.softmax_scale());
    for (int64_t d = 0; d < dim; ++d) {
      inputs.keys[j * dim + d] = static_cast<float>(query[d] * factor);
    }
  }
  UnitCase full = c;
  full.policy = UnitPolicy();
  ExpectNear(LastRow(c, Outputs(c, inputs, 128)),
             LastRow(full, Outputs(full, ordinary, 128)));
}

TEST(LandmarkRulesTest, AnEarlierLandmarksValueHasNoEffectButItsKeyHas) {
  const UnitCase c = CaseOf(8, true);
  const UnitInputs inputs = RandomInputs(c, kLength, 25);
  UnitInputs other_values = inputs;
  UnitInputs other_keys = inputs;
  for (int64_t j = 0; j < kLength / kChunkLen * kChunkLen; ++j) {
    if (!IsLandmark(j)) continue;
    for (int64_t d = 0; d < c.head_dim; ++d) {
      other_values.values[j * c.head_dim + d] += 5.0f;
      other_keys.keys[j * c.head_dim + d] += 5.0f;
    }
  }
  const std::vector<float> last = LastRow(c, Outputs(c, inputs, 128));
  EXPECT_EQ(LastRow(c, Outputs(c, other_values, 128)), last);
  EXPECT_NE(LastRow(c, Outputs(c, other_keys, 128)), last);
}

TEST(LandmarkRulesTest, NoSkippedLandmarkScoresAboveAChosenOne) {
  const UnitCase c = CaseOf(4, false);
  const UnitInputs inputs = RandomInputs(c, kLength, 26);
  const std::vector<double> scores = ScoresAt(c, inputs, kLength - 1, 0);
  const ReferenceRow row = ReferenceOf(c, inputs).Row(kLength - 1, 0);
  ASSERT_EQ(row.landmark_scores.size(), 3u);
  double least_chosen = INFINITY, most_skipped = -INFINITY;
  for (int64_t chunk = 0; chunk < kLength / kChunkLen; ++chunk) {
    const double score = scores[(chunk + 1) * kChunkLen - 1];
    if (row.landmark_scores.contains(chunk)) {
      EXPECT_NEAR(row.landmark_scores.at(chunk), score, 1e-9);
      least_chosen = std::min(least_chosen, score);
    } else {
      most_skipped = std::max(most_skipped, score);
    }
  }
  EXPECT_GT(least_chosen, most_skipped);
}

TEST(LandmarkRulesTest, DistancesStayWithinOneChunkMoreThanIsSeen) {
  const UnitCase c = CaseOf(4, true);
  EXPECT_EQ(RotationTableSize(c.policy), 5 * kChunkLen);
  PolicyReference reference =
      ReferenceOf(c, RandomInputs(c, 20 * kChunkLen, 27));
  int64_t farthest = 0;
  for (int64_t t = 0; t < 20 * kChunkLen; t += 7) {
    const ReferenceRow row = reference.Row(t, 0);
    for (const int64_t place : row.places) {
      EXPECT_LE(place, t);
      farthest = std::max(farthest, t - place);
    }
  }
  EXPECT_GE(farthest, 4 * kChunkLen);
  EXPECT_LT(farthest, 5 * kChunkLen);
}

// What a fork or a resumed sequence makes anew is what was there.
TEST(LandmarkRulesTest, KeysOfLandmarksAreThoseOfTheCache) {
  for (const KvElement element : {KvElement::kFp32, KvElement::kInt8}) {
    UnitCase c = CaseOf(4, true);
    c.element = element;
    const UnitInputs inputs = RandomInputs(c, 70 * kChunkLen, 28);
    UnitUnderTest unit(c, inputs);
    unit.FeedAll(70 * kChunkLen, 200);
    ASSERT_EQ(unit.kv().num_landmarks, 70);
    const PolicyReference reference = ReferenceOf(c, inputs);
    for (const int64_t chunk : {0, 15, 16, 63, 64, 69}) {
      const auto* keys = reinterpret_cast<const float*>(
          unit.kv().landmarks.blocks[chunk / 64]);
      const int64_t position = (chunk + 1) * kChunkLen - 1;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        ASSERT_FLOAT_EQ(keys[d * 64 + chunk % 64],
                        reference.unit().keys[position * c.head_dim + d]);
      }
    }
  }
}

}  // namespace
}  // namespace headwise
