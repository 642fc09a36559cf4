// What the methods promise of one policy and not of others.

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "worker/executor/policy_conformance_unit.h"

namespace headwise {
namespace {

constexpr int64_t kLength = 500;

UnitCase CaseOf(const UnitPolicy& policy, int64_t prompt_len = kLength / 2) {
  UnitCase c;
  c.policy = policy;
  c.prompt_len = prompt_len;
  return c;
}

// Position `from` of one sequence becomes position `to` of another.
void CopyPosition(const UnitCase& c, const UnitInputs& inputs, int64_t from,
                  int64_t to, UnitInputs* out) {
  const int64_t width = c.heads_per_kv_head * c.head_dim;
  std::copy_n(inputs.queries.begin() + from * width, width,
              out->queries.begin() + to * width);
  std::copy_n(inputs.keys.begin() + from * c.head_dim, c.head_dim,
              out->keys.begin() + to * c.head_dim);
  std::copy_n(inputs.values.begin() + from * c.head_dim, c.head_dim,
              out->values.begin() + to * c.head_dim);
}

// Xiao et al., 2309.17453: "as if the dropped positions had never been".
TEST(StreamingRulesTest, SlotPositionsAreFullAttentionToWhatIsKept) {
  UnitPolicy policy = Windowed(PolicyKind::kStreaming, 5, 100);
  policy.slot_positions = true;
  const UnitCase c = CaseOf(policy);
  const UnitInputs inputs = RandomInputs(c, kLength, 1);
  UnitInputs kept = RandomInputs(c, 105, 2);
  for (int64_t i = 0; i < 5; ++i) CopyPosition(c, inputs, i, i, &kept);
  for (int64_t i = 0; i < 100; ++i) {
    CopyPosition(c, inputs, kLength - 100 + i, 5 + i, &kept);
  }
  ExpectNear(LastRow(c, Outputs(c, inputs, 128)),
             LastRow(c, Outputs(CaseOf(UnitPolicy()), kept, 128)));
}

TEST(StreamingRulesTest, WhatIsDroppedHasNoEffect) {
  for (const bool slots : {false, true}) {
    UnitPolicy policy = Windowed(PolicyKind::kStreaming, 5, 100);
    policy.slot_positions = slots;
    const UnitCase c = CaseOf(policy);
    const UnitInputs inputs = RandomInputs(c, kLength, 3);
    const UnitInputs others = RandomInputs(c, kLength, 4);
    UnitInputs changed = inputs;
    for (int64_t j = 5; j < kLength - 100; ++j) {
      CopyPosition(c, others, j, j, &changed);
    }
    const std::vector<float> last = LastRow(c, Outputs(c, inputs, 128));
    EXPECT_EQ(LastRow(c, Outputs(c, changed, 128)), last);
    CopyPosition(c, others, kLength - 100, kLength - 100, &changed);
    EXPECT_NE(LastRow(c, Outputs(c, changed, 128)), last) << "the window";
    CopyPosition(c, inputs, kLength - 100, kLength - 100, &changed);
    CopyPosition(c, others, 4, 4, &changed);
    EXPECT_NE(LastRow(c, Outputs(c, changed, 128)), last) << "a sink";
  }
}

// Tang et al., 2407.15891. Keys are not rotated here, so that they can be
// alike.
TEST(RazorRulesTest, DroppedAlikeIsFullAttention) {
  UnitCase c = CaseOf(Windowed(PolicyKind::kRazor, 4, 50));
  c.rotates = false;
  UnitInputs inputs = RandomInputs(c, kLength, 5);
  for (int64_t j = 5; j < kLength - 50; ++j) {
    CopyPosition(c, inputs, 4, j, &inputs);
  }
  UnitCase full = c;
  full.policy = UnitPolicy();
  const std::vector<float> expected = LastRow(c, Outputs(full, inputs, 128));
  ExpectNear(LastRow(c, Outputs(c, inputs, 128)), expected);
  c.policy.count_weight = false;
  EXPECT_GT(std::abs(LastRow(c, Outputs(c, inputs, 128))[0] - expected[0]),
            1e-3f);
}

TEST(RazorRulesTest, EqualScoresGiveTheMeanOfAllValues) {
  const UnitCase c = CaseOf(Windowed(PolicyKind::kRazor, 4, 50));
  UnitInputs inputs = RandomInputs(c, kLength, 6);
  std::fill(inputs.keys.begin(), inputs.keys.end(), 0.0f);
  std::vector<double> mean(static_cast<size_t>(c.head_dim));
  for (size_t i = 0; i < inputs.values.size(); ++i) {
    mean[i % mean.size()] += inputs.values[i] / static_cast<double>(kLength);
  }
  std::vector<float> expected(mean.begin(), mean.end());
  expected.insert(expected.end(), mean.begin(), mean.end());
  ExpectNear(LastRow(c, Outputs(c, inputs, 128)), expected);
}

TEST(RazorRulesTest, OrderOfDroppedPositionsDoesNotMatter) {
  UnitCase c = CaseOf(Windowed(PolicyKind::kRazor, 4, 50));
  c.rotates = false;
  const UnitInputs inputs = RandomInputs(c, kLength, 7);
  UnitInputs reversed = inputs;
  for (int64_t j = 4; j < kLength - 50; ++j) {
    CopyPosition(c, inputs, j, kLength - 47 - j, &reversed);
  }
  ExpectNear(LastRow(c, Outputs(c, inputs, 128)),
             LastRow(c, Outputs(c, reversed, 128)));
}

// The prompt's end decides the window; it does not grow with the answer.
TEST(RazorRulesTest, WindowStaysAsThePromptSetIt) {
  UnitPolicy policy = Windowed(PolicyKind::kRazor, 4, 50);
  policy.window_divisor = 2;
  const UnitCase c = CaseOf(policy, 300);
  const UnitCase same = CaseOf(Windowed(PolicyKind::kRazor, 4, 150), 300);
  const UnitInputs inputs = RandomInputs(c, kLength, 8);
  EXPECT_EQ(Outputs(c, inputs, 128), Outputs(same, inputs, 128));
}

// Lu et al., 2402.10685.
TEST(LongHeadsRulesTest, ChunkKeysFollowTheDefinition) {
  const UnitCase c = CaseOf(Chunked(PolicyKind::kLongHeads, 64, 3, false));
  const UnitInputs inputs = RandomInputs(c, kLength, 9);
  UnitUnderTest unit(c, inputs);
  unit.FeedAll(kLength, 100);
  PolicyReference reference = ReferenceOf(c, inputs);
  const KvLayout layout = {KvElement::kFp32, c.head_dim};
  ASSERT_EQ(unit.kv().num_chunk_keys, kLength / 64);
  for (int64_t h = 0; h < c.heads_per_kv_head; ++h) {
    const ChunkKeys& keys = unit.kv().chunk_keys[h];
    for (int64_t chunk = 0; chunk < kLength / 64; ++chunk) {
      const std::vector<double>& expected = reference.ChunkKey(chunk, h);
      const auto* values = reinterpret_cast<const float*>(
          keys.blocks[0] + layout.values_offset());
      for (int64_t d = 0; d < c.head_dim; ++d) {
        ASSERT_NEAR(values[chunk * c.head_dim + d], expected[d], 1e-5);
      }
    }
  }
}

TEST(LongHeadsRulesTest, PlacesStayBelowTheBudget) {
  const UnitCase c = CaseOf(Chunked(PolicyKind::kLongHeads, 64, 4, true));
  EXPECT_EQ(RotationTableSize(c.policy), 4 * 64);
  PolicyReference reference = ReferenceOf(c, RandomInputs(c, kLength, 10));
  for (int64_t t = 0; t < kLength; t += 13) {
    EXPECT_LT(reference.Row(t, 0).place, 4 * 64) << t;
  }
  EXPECT_EQ(reference.Row(4 * 64 + 63, 0).place, 4 * 64 - 1);
}

double ScoreOf(const PolicyReference& reference,
               const std::vector<double>& query, int64_t position) {
  const int64_t dim = reference.unit().head_dim;
  double score = 0.0;
  for (int64_t d = 0; d < dim; ++d) {
    score += query[d] * reference.unit().keys[position * dim + d];
  }
  return score;
}

// Tang et al., 2406.10774: a page that is left out holds no score above the
// page's own, which is below that of every page that was chosen.
TEST(QuestRulesTest, NoSkippedPageHoldsAScoreAboveItsBound) {
  for (const KvElement element : {KvElement::kFp32, KvElement::kInt8}) {
    UnitCase c = CaseOf(Chunked(PolicyKind::kQuest, 64, 4, true));
    c.element = element;
    const UnitInputs inputs = RandomInputs(c, kLength, 11);
    UnitUnderTest unit(c, inputs);
    unit.FeedAll(kLength, 128);
    PolicyReference reference = ReferenceOf(c, inputs);
    const std::vector<float>& bounds = unit.kv().page_bounds;
    ASSERT_EQ(bounds.size(),
              static_cast<size_t>(kLength / 64 * 2 * c.head_dim));
    const std::vector<double> query =
        reference.QueryAt(kLength - 1, 0, kLength - 1);
    const std::vector<int64_t> seen = reference.Row(kLength - 1, 0).seen;
    double least_chosen = INFINITY, most_skipped = -INFINITY;
    for (int64_t page = 1; page < kLength / 64 - 1; ++page) {
      double bound = 0.0;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        const float* smallest = bounds.data() + page * 2 * c.head_dim + d;
        bound +=
            std::max(query[d] * smallest[0], query[d] * smallest[c.head_dim]);
      }
      for (int64_t j = page * 64; j < (page + 1) * 64; ++j) {
        EXPECT_LE(ScoreOf(reference, query, j), bound + 1e-9) << j;
      }
      if (std::count(seen.begin(), seen.end(), page * 64) > 0) {
        least_chosen = std::min(least_chosen, bound);
      } else {
        most_skipped = std::max(most_skipped, bound);
      }
    }
    EXPECT_GE(least_chosen, most_skipped);
  }
}

// Mohtashami and Jaggi, 2305.16300, with landmarks that know their block: no
// other blocks hold more of the probability.
TEST(LandmarkOracleRulesTest, NoSkippedBlockHoldsMoreThanAChosenOne) {
  const UnitCase c = CaseOf(Chunked(PolicyKind::kLandmarkOracle, 64, 5, true));
  const UnitInputs inputs = RandomInputs(c, kLength, 12);
  PolicyReference reference = ReferenceOf(c, inputs);
  const int64_t t = kLength - 1;
  const std::vector<double> query = reference.QueryAt(t, 0, t);
  const std::vector<int64_t> seen = reference.Row(t, 0).seen;
  double least_chosen = INFINITY, most_skipped = 0.0;
  for (int64_t block = 1; block < kLength / 64 - 1; ++block) {
    double mass = 0.0;
    for (int64_t j = block * 64; j < (block + 1) * 64; ++j) {
      mass += std::exp(ScoreOf(reference, query, j));
    }
    if (std::count(seen.begin(), seen.end(), block * 64) > 0) {
      least_chosen = std::min(least_chosen, mass);
    } else {
      most_skipped = std::max(most_skipped, mass);
    }
  }
  EXPECT_GT(least_chosen, most_skipped);
  UnitUnderTest unit(c, inputs);
  unit.FeedAll(kLength, 128);
  EXPECT_EQ(ExpectByDefinition(unit, reference, t, 1), 0);
}

}  // namespace
}  // namespace headwise
