// What holds for every policy, whatever it keeps and sees: the bits of a row
// depend on its sequence alone, and its numbers are the definition's.

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/executor/policy_conformance_unit.h"

namespace headwise {
namespace {

class PolicyConformanceTest : public testing::TestWithParam<NamedPolicy> {
 protected:
  static UnitCase Case() {
    UnitCase c;
    c.policy = GetParam().policy;
    c.prompt_len = GetParam().prompt_len;
    return c;
  }
  // What the policy is while nothing is left out.
  static UnitCase FullCase() {
    UnitCase c;
    c.policy = UnitPolicy();
    if (IsByLandmarks()) {
      c.policy = GetParam().policy;
      c.policy.num_chunks = 256;
    }
    return c;
  }
  // Chunks weigh as their landmarks say, whether or not all are seen.
  static bool IsByLandmarks() {
    return GetParam().policy.kind == PolicyKind::kLandmark;
  }
  static bool IsFull() { return GetParam().policy.kind == PolicyKind::kFull; }
  static bool Chooses() { return GetParam().policy.chunk_len > 0; }

  // The first query that doesn't see everything.
  static int64_t FirstCut() {
    const UnitPolicy& policy = GetParam().policy;
    if (Chooses()) return policy.chunk_len * policy.num_chunks;
    if (IsFull()) return 300;
    const int64_t budget =
        policy.num_sinks + WindowOf(policy, GetParam().prompt_len);
    return policy.full_prompt && policy.kind == PolicyKind::kRazor
               ? std::max(budget, GetParam().prompt_len)
               : budget;
  }
};

INSTANTIATE_TEST_SUITE_P(Policies, PolicyConformanceTest,
                         testing::ValuesIn(ConformancePolicies()),
                         [](const auto& info) { return info.param.name; });

// Equal bits where ranges are cut alike; policies that choose chunks merge
// chunk by chunk.
void ExpectFull(bool same_cuts, const std::vector<float>& full,
                const float* out, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    if (same_cuts) {
      ASSERT_EQ(out[i], full[i]) << i;
    } else {
      ASSERT_NEAR(out[i], full[i], 1e-5f) << i;
    }
  }
}

TEST_P(PolicyConformanceTest, BudgetForEverythingIsFullAttention) {
  constexpr int64_t kLength = 600;
  UnitCase c = Case();
  const UnitInputs inputs = RandomInputs(c, kLength, 1);
  const std::vector<float> full = Outputs(FullCase(), inputs, 128);
  if (Chooses()) {
    c.policy.num_chunks = (kLength - 1) / c.policy.chunk_len + 1;
  } else if (!IsFull()) {
    c.policy.window = kLength - c.policy.num_sinks;
  }
  const std::vector<float> out = Outputs(c, inputs, 128);
  ExpectFull(!Chooses(), full, out.data(), 0,
             static_cast<int64_t>(full.size()));
}

// Positions before, at and after the budget and the edges of chunks.
TEST_P(PolicyConformanceTest, LengthsAroundTheBudgetFollowTheDefinition) {
  const UnitCase c = Case();
  const int64_t cut = FirstCut();
  const int64_t width = c.heads_per_kv_head * c.head_dim;
  const UnitInputs inputs = RandomInputs(c, cut + 140, 2);
  const std::vector<float> full = Outputs(FullCase(), inputs, 128);
  UnitUnderTest unit(c, inputs);
  unit.Feed(0);
  EXPECT_TRUE(unit.out().empty());
  unit.Feed(1);
  unit.Feed(0);
  unit.FeedAll(cut + 139, 1);
  ExpectFull(!Chooses(), full, unit.out().data(), 0, cut * width);
  if (!IsFull()) {
    EXPECT_FALSE(std::equal(full.begin() + cut * width,
                            full.begin() + (cut + 1) * width,
                            unit.out(cut, 0)));
  }
  EXPECT_LE(ExpectByDefinition(unit, ReferenceOf(c, inputs), cut - 2, 1), 3);
}

// Every policy promises it: no window or choice depends on what comes at once.
TEST_P(PolicyConformanceTest, BatchesDoNotChangeTheBits) {
  UnitCase c = Case();
  c.element = KvElement::kFp16;
  const UnitInputs inputs = RandomInputs(c, FirstCut() + 200, 3);
  const std::vector<float> expected = Outputs(c, inputs, 1);
  for (const int64_t batch : {7, 64, 100, 128, 10000}) {
    for (const int64_t rows_at_once : {1, 5, 128}) {
      EXPECT_EQ(Outputs(c, inputs, batch, rows_at_once), expected)
          << batch << " " << rows_at_once;
    }
  }
}

// Ranges are longer from position 8,192 on.
TEST_P(PolicyConformanceTest, LongContextsFollowTheDefinition) {
  constexpr int64_t kLength = 9000;
  UnitCase c = Case();
  c.head_dim = 16;
  c.heads_per_kv_head = 1;
  const UnitInputs inputs = RandomInputs(c, kLength, 13);
  UnitUnderTest unit(c, inputs);
  unit.FeedAll(kLength, 128);
  EXPECT_EQ(Outputs(c, inputs, 1000, 77), unit.out());
  EXPECT_LE(ExpectByDefinition(unit, ReferenceOf(c, inputs), 8190, 101), 2);
}

TEST_P(PolicyConformanceTest, InstructionSetsGiveTheSameBits) {
  for (const KvElement element : {KvElement::kFp32, KvElement::kFp16,
                                  KvElement::kBf16, KvElement::kInt8}) {
    UnitCase c = Case();
    c.element = element;
    const UnitInputs inputs = RandomInputs(c, FirstCut() + 100, 4);
    const std::vector<float> expected = Outputs(c, inputs, 77);
    for (const Isa isa : IsasOfThisMachine()) {
      c.isa = isa;
      EXPECT_EQ(Outputs(c, inputs, 128), expected) << IsaName(isa);
    }
  }
}

TEST_P(PolicyConformanceTest, CopyGoesOnAsItsOrigin) {
  const UnitCase c = Case();
  const int64_t length = FirstCut() + 230;
  const UnitInputs inputs = RandomInputs(c, length, 5);
  const UnitInputs others = RandomInputs(c, length, 6);
  const std::vector<float> expected = Outputs(c, inputs, 128);
  for (const int64_t at :
       {int64_t{1}, FirstCut() - 1, FirstCut() + 1, FirstCut() + 70}) {
    UnitUnderTest origin(c, inputs);
    origin.FeedAll(at, 50);
    UnitUnderTest copy = origin;
    // What the origin stores from here on is not seen by its copy.
    origin.ReadFrom(others);
    origin.FeedAll(length - at, 128);
    copy.FeedAll(length - at, 61);
    EXPECT_EQ(copy.out(), expected) << at;
    EXPECT_NE(origin.out(), expected) << at;
  }
}

int64_t BytesBesideBlocks(const UnitKv& kv) {
  // A vector that grows has a little room to spare.
  EXPECT_LE(kv.page_bounds.capacity(),
            kv.page_bounds.size() + kv.page_bounds.size() / 50);
  auto bytes = static_cast<int64_t>(kv.folded_sum.size() * sizeof(double) +
                                    kv.open_queries.size() * sizeof(float) +
                                    kv.page_bounds.size() * sizeof(float));
  std::vector<ChunkKeys> all_keys = kv.chunk_keys;
  all_keys.push_back(kv.landmarks);
  for (const ChunkKeys& keys : all_keys) {
    for (const auto& block : keys.storage) bytes += block->capacity();
  }
  return bytes;
}

TEST_P(PolicyConformanceTest, HoldsWhatTheBooksSay) {
  constexpr int64_t kLength = 10000;
  UnitCase c = Case();
  c.head_dim = 16;
  const UnitInputs inputs = RandomInputs(c, kLength, 7);
  UnitUnderTest unit(c, inputs);
  int64_t most_early = 0, most = 0;
  for (int64_t length = 1; length <= kLength; ++length) {
    unit.Feed(1);
    const std::vector<uint8_t*>& blocks = unit.kv().blocks;
    const auto held = static_cast<int64_t>(blocks.size()) -
                      std::count(blocks.begin(), blocks.end(), nullptr);
    const int64_t extra = BytesBesideBlocks(unit.kv());
    ASSERT_EQ(held, BlocksHeld(c.policy, length, c.prompt_len)) << length;
    ASSERT_EQ(extra,
              ExtraBytesHeld(c.policy, length, c.head_dim, c.heads_per_kv_head))
        << length;
    const int64_t bytes = held * unit.kv().layout.block_bytes() + extra;
    ASSERT_EQ(unit.used_bytes(), bytes) << length;
    if (length > 500) most = std::max(most, bytes);
    if (length == 1000) most_early = most;
  }
  if (c.policy.window > 0) {
    EXPECT_EQ(most, most_early) << "does not grow";
  }
}

TEST_P(PolicyConformanceTest, NeverHoldsMoreThanAdmissionReckonsWith) {
  UnitCase c = Case();
  c.head_dim = 16;
  const UnitInputs inputs = RandomInputs(c, 2000, 7);
  const int64_t block_bytes = c.layout().block_bytes();
  for (const int64_t batch : {int64_t{1}, int64_t{100}, kRowsBeforeDrop}) {
    UnitUnderTest unit(c, inputs);
    while (unit.length() < 2000) {
      unit.Feed(std::min(batch, 2000 - unit.length()));
      const int64_t length = unit.length();
      ASSERT_LE(
          unit.most_used_bytes(),
          MaxBlocksHeld(c.policy, length, c.prompt_len) * block_bytes +
              ExtraBytesHeld(c.policy, length, c.head_dim, c.heads_per_kv_head))
          << length;
    }
  }
}

// Heads that share a unit are as good as units of one head each, but for a
// choice that they make together.
TEST_P(PolicyConformanceTest, HeadsThatShareAUnitDoNotAffectEachOther) {
  UnitCase c = Case();
  c.heads_per_kv_head = 3;
  if (Chooses()) c.policy.per_query_head = true;
  const int64_t length = FirstCut() + 100;
  const UnitInputs inputs = RandomInputs(c, length, 8);
  UnitUnderTest together(c, inputs);
  together.FeedAll(length, 128);
  for (int64_t h = 0; h < 3; ++h) {
    UnitInputs one = inputs;
    one.queries.clear();
    for (int64_t t = 0; t < length; ++t) {
      const auto from = inputs.queries.begin() + (t * 3 + h) * c.head_dim;
      one.queries.insert(one.queries.end(), from, from + c.head_dim);
    }
    UnitCase alone = c;
    alone.heads_per_kv_head = 1;
    const std::vector<float> out = Outputs(alone, one, 128);
    for (int64_t t = 0; t < length; ++t) {
      ASSERT_TRUE(std::equal(out.begin() + t * c.head_dim,
                             out.begin() + (t + 1) * c.head_dim,
                             together.out(t, h)))
          << t << " " << h;
    }
  }
}

TEST_P(PolicyConformanceTest, ExtremeInputsFollowTheDefinition) {
  const UnitCase c = Case();
  const int64_t length = FirstCut() + 150;
  const UnitInputs random = RandomInputs(c, length, 9);
  UnitInputs huge = random;  // scores of 80 and more, of either sign
  for (float& x : huge.queries) x *= 25.0f;
  UnitInputs alike = random;
  UnitInputs zero = random;  // every score and every choice a tie
  for (size_t i = 0; i < alike.keys.size(); ++i) {
    alike.keys[i] = random.keys[i % static_cast<size_t>(c.head_dim)];
    zero.keys[i] = 0.0f;
  }
  for (const UnitInputs* inputs : {&huge, &alike, &zero}) {
    UnitUnderTest unit(c, *inputs);
    unit.FeedAll(length, 100);
    EXPECT_LE(ExpectByDefinition(unit, ReferenceOf(c, *inputs), 0, 7), 12);
  }
}

TEST_P(PolicyConformanceTest, EqualValuesComeOutAsTheyAre) {
  const UnitCase c = Case();
  UnitInputs inputs = RandomInputs(c, FirstCut() + 100, 10);
  for (size_t i = 0; i < inputs.values.size(); ++i) {
    inputs.values[i] = static_cast<float>(i % c.head_dim) - 10.0f;
  }
  const std::vector<float> out = Outputs(c, inputs, 100);
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], static_cast<float>(i % c.head_dim) - 10.0f, 1e-4f);
  }
}

// A run of positions whose keys stand equally far from where they are stored.
struct Piece {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t query_place = 0;
};

// Of the positions that the row sees within [begin, end), at least one.
std::vector<Piece> RandomPieces(const PolicyReference& reference,
                                const ReferenceRow& row, int64_t begin,
                                int64_t end, std::mt19937* random) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < row.seen.size(); ++i) {
    if (row.seen[i] < begin || row.seen[i] >= end) continue;
    const int64_t at = row.seen[i];
    const int64_t place = row.place - row.places[i] + reference.StoredPlace(at);
    if (pieces.empty() || pieces.back().end != at ||
        pieces.back().query_place != place || (*random)() % 50 == 0) {
      pieces.push_back({at, at, place});
    }
    pieces.back().end = at + 1;
  }
  for (const int64_t at : {pieces.front().begin, pieces.back().begin}) {
    pieces.push_back({at, at, 0});  // empty ones
  }
  std::shuffle(pieces.begin(), pieces.end(), *random);
  return pieces;
}

// Sum, in the pieces' order, of what the query at t sees.
Partial Sum(const UnitUnderTest& unit, const PolicyReference& reference,
            int64_t t, int64_t head, const std::vector<Piece>& pieces) {
  const UnitKv& kv = unit.kv();
  const Kernels& kernels = KernelsFor(Isa::kAvx2);
  Partial sum = {std::vector<float>(static_cast<size_t>(kv.layout.head_dim)),
                 {kNegativeInfinity}};
  const auto add = [&](const std::vector<float>& out, float lse) {
    kernels.merge({sum.out.data(), sum.lse.data(), out.data(), &lse, 1,
                   kv.layout.head_dim});
  };
  for (const Piece& piece : pieces) {
    const int64_t block = piece.begin / KvLayout::kPositions;
    const int64_t shift = block * KvLayout::kPositions;
    const std::vector<const uint8_t*> blocks(kv.blocks.begin() + block,
                                             kv.blocks.end());
    const std::vector<double> query =
        reference.QueryAt(t, head, piece.query_place);
    const Partial part = AttendBlocks(
        kernels, kv.layout, blocks, {query.begin(), query.end()},
        {{piece.end - shift}, {piece.begin - shift}}, 0, piece.end - shift);
    add(part.out, part.lse[0]);
  }
  return sum;
}

TEST_P(PolicyConformanceTest, SplitsAndOrderOfPartsChangeRoundingOnly) {
  UnitCase c = Case();
  c.trims = false;
  const int64_t length = FirstCut() + 200;
  const UnitInputs inputs = RandomInputs(c, length, 11);
  UnitUnderTest unit(c, inputs);
  unit.FeedAll(length, 128);
  PolicyReference reference = ReferenceOf(c, inputs);
  std::mt19937 random(12);
  for (int64_t t = length - 10; t < length; ++t) {
    const ReferenceRow row = reference.Row(t, 1);
    if (row.is_close_call) continue;
    const auto sum_of = [&](int64_t begin, int64_t end) {
      return Sum(unit, reference, t, 1,
                 RandomPieces(reference, row, begin, end, &random));
    };
    const int64_t own = IsByLandmarks() ? t - t % c.policy.chunk_len : 0;
    Partial sum = sum_of(own, t + 1);
    const auto add = [&](const std::vector<float>& out, double score) {
      const auto lse = static_cast<float>(score);
      KernelsFor(c.isa).merge(
          {sum.out.data(), sum.lse.data(), out.data(), &lse, 1, c.head_dim});
    };
    for (const auto& [chunk, score] : row.landmark_scores) {
      const int64_t begin = chunk * c.policy.chunk_len;
      add(sum_of(begin, begin + c.policy.chunk_len).out, score);
    }
    if (row.num_dropped > 0) {
      add({row.mean_value.begin(), row.mean_value.end()}, row.slot_score);
    }
    for (int64_t d = 0; d < c.head_dim; ++d) {
      ASSERT_NEAR(sum.out[d], unit.out(t, 1)[d], 2 * row.error) << t;
    }
  }
}

}  // namespace
}  // namespace headwise
