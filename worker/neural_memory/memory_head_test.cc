// What a memory's head works out, against a token loop in double.

#include "worker/neural_memory/memory_head.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "worker/neural_memory/memory_reference.h"
#include "worker/neural_memory/memory_tokens.h"

namespace headwise {
namespace {

const MemoryKernels& BestKernels() {
  return MemoryKernelsFor(IsasOfThisMachine().back());
}

Doubles ToDoubles(absl::Span<const float> x) {
  return Doubles(x.begin(), x.end());
}

// Writes all tokens at once and compares what was read, every row's surprise,
// and the state at the last whole chunk.
void ExpectEqualsTokenLoop(const MemorySpec& spec, int64_t num_tokens,
                           double tolerance) {
  SCOPED_TRACE(NameOf(spec));
  ASSERT_TRUE(CheckMemorySpec(spec).ok()) << CheckMemorySpec(spec);
  MemoryTokens tokens(spec, num_tokens, 7);
  MemoryHead head(spec, tokens.initial);
  MemoryScratch scratch;
  ASSERT_TRUE(
      head.Write(tokens.Rows(0, num_tokens), BestKernels(), scratch).ok());
  ReferenceMemory reference(spec, ToDoubles(tokens.initial));
  Doubles out, surprise, weights, momentum;
  for (int64_t t = 0; t < num_tokens; ++t) {
    surprise.push_back(reference.Write(tokens.Key(t), tokens.Value(t),
                                       tokens.theta[t], tokens.eta[t],
                                       tokens.alpha[t]));
    const Doubles read = reference.Read(tokens.Query(t));
    out.insert(out.end(), read.begin(), read.end());
    if ((t + 1) % spec.chunk_len != 0) continue;
    weights = reference.weights();
    momentum = reference.momentum();
  }
  EXPECT_LE(RelativeError(tokens.out, out), tolerance);
  EXPECT_LE(RelativeError(tokens.surprise, surprise), tolerance);
  EXPECT_EQ(head.num_tokens(), num_tokens);
  if (weights.empty()) return;
  EXPECT_LE(RelativeError(head.weights(), weights), tolerance);
  EXPECT_LE(RelativeError(head.momentum(), momentum), tolerance);
}

// The momentum of a chunk of one token that had none before, with theta = 1, is
// the negative gradient.
std::vector<float> GradientOf(MemorySpec spec, MemoryTokens& tokens) {
  spec.chunk_len = 1;
  tokens.theta[0] = 1.0f;
  tokens.alpha[0] = 0.0f;
  MemoryHead head(spec, tokens.initial);
  MemoryScratch scratch;
  EXPECT_TRUE(head.Write(tokens.Rows(0, 1), BestKernels(), scratch).ok());
  std::vector<float> gradient(head.momentum().begin(), head.momentum().end());
  for (float& g : gradient) g = -g;
  return gradient;
}

TEST(MemoryHeadTest, GradientsAreTheChainRulesAndCentralDifferences) {
  for (const MemorySpec& spec : AllKindsOfMemory()) {
    SCOPED_TRACE(NameOf(spec));
    MemoryTokens tokens(spec, 1, 3);
    const Doubles weights = ToDoubles(tokens.initial);
    const Doubles key = tokens.Key(0), value = tokens.Value(0);
    const Doubles exact = ReferenceGradient(spec, weights, key, value);
    // Error of a central difference: h^2 of the third derivative, and the
    // loss's rounding over h.
    constexpr double kStep = 1e-5;
    Doubles differences;
    Doubles moved = weights;
    for (size_t i = 0; i < weights.size(); ++i) {
      moved[i] = weights[i] + kStep;
      const double above = ReferenceLoss(spec, moved, key, value);
      moved[i] = weights[i] - kStep;
      const double below = ReferenceLoss(spec, moved, key, value);
      moved[i] = weights[i];
      differences.push_back((above - below) / (2 * kStep));
    }
    const std::vector<float> gradient = GradientOf(spec, tokens);
    EXPECT_LE(RelativeError(gradient, differences), 2e-6);
    // fp32: chains of 48 through four layers and back.
    EXPECT_LE(RelativeError(gradient, exact), 1e-6);
  }
}

TEST(MemoryHeadTest, EveryKindEqualsTheTokenLoop) {
  for (MemorySpec spec : AllKindsOfMemory()) {
    spec.chunk_len = 7;
    ExpectEqualsTokenLoop(spec, 7 * 9 + 3, 1e-5);
    spec.rule = MemoryRule::kChunk;
    ExpectEqualsTokenLoop(spec, 7 * 9 + 3, 1e-5);
  }
}

TEST(MemoryHeadTest, EveryChunkLengthEqualsTheTokenLoop) {
  for (int64_t chunk_len : {1, 7, 64, 4096}) {
    for (auto rule : {MemoryRule::kToken, MemoryRule::kChunk}) {
      MemorySpec spec;
      spec.head_dim = 32;
      spec.hidden_dim = 48;
      spec.norm = MemoryNorm::kLayer;
      spec.chunk_len = chunk_len;
      spec.rule = rule;
      const int64_t num_tokens = chunk_len == 4096 ? 4096 + 5 : 64 * 6 + 3;
      ExpectEqualsTokenLoop(spec, num_tokens, 1e-5);
    }
  }
}

TEST(MemoryHeadTest, TheUsualSizeEqualsTheTokenLoop) {
  MemorySpec spec;  // 64 x 128 x 64, chunks of 64
  ExpectEqualsTokenLoop(spec, 64 * 4 + 9, 1e-5);
  spec.activation = MemoryActivation::kGelu;
  spec.norm = MemoryNorm::kLayer;
  spec.rule = MemoryRule::kChunk;
  ExpectEqualsTokenLoop(spec, 64 * 4 + 9, 1e-5);
}

// With chunks of one token both rules are equations 13 and 14 as they stand.
TEST(MemoryHeadTest, ChunksOfOneTokenHaveTheSameBitsByEitherRule) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  spec.chunk_len = 1;
  MemoryTokens tokens(spec, 50, 5);
  MemoryScratch scratch;
  MemoryHead by_token(spec, tokens.initial);
  ASSERT_TRUE(by_token.Write(tokens.Rows(0, 50), BestKernels(), scratch).ok());
  spec.rule = MemoryRule::kChunk;
  MemoryHead by_chunk(spec, tokens.initial);
  ASSERT_TRUE(by_chunk.Write(tokens.Rows(0, 50), BestKernels(), scratch).ok());
  EXPECT_EQ(by_token.weights(), by_chunk.weights());
  EXPECT_EQ(by_token.momentum(), by_chunk.momentum());
}

TEST(MemoryHeadTest, WithoutStepsTheInitialWeightsStayAndAreRead) {
  for (MemorySpec spec : AllKindsOfMemory()) {
    SCOPED_TRACE(NameOf(spec));
    spec.chunk_len = 4;
    MemoryTokens tokens(spec, 10, 9);
    std::fill(tokens.theta.begin(), tokens.theta.end(), 0.0f);
    std::fill(tokens.alpha.begin(), tokens.alpha.end(), 0.0f);
    MemoryHead head(spec, tokens.initial);
    MemoryScratch scratch;
    ASSERT_TRUE(head.Write(tokens.Rows(0, 10), BestKernels(), scratch).ok());
    EXPECT_EQ(head.weights(), absl::MakeConstSpan(tokens.initial));
    std::vector<float> initial_out(tokens.out.size());
    const MemoryHead fresh(spec, tokens.initial);
    fresh.Read(tokens.queries.data(), 10, spec.head_dim, initial_out.data(),
               BestKernels(), scratch);
    EXPECT_EQ(tokens.out, initial_out);
  }
}

TEST(MemoryHeadTest, FullForgettingLeavesTheLastTokenAlone) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  spec.chunk_len = 8;
  MemoryTokens tokens(spec, 8, 11);
  std::fill(tokens.eta.begin(), tokens.eta.end(), 0.0f);
  std::fill(tokens.alpha.begin(), tokens.alpha.end(), 1.0f);
  MemoryHead head(spec, tokens.initial);
  MemoryScratch scratch;
  ASSERT_TRUE(head.Write(tokens.Rows(0, 8), BestKernels(), scratch).ok());
  EXPECT_EQ(head.weights(), head.momentum());
  Doubles step = ReferenceGradient(spec, ToDoubles(tokens.initial),
                                   tokens.Key(7), tokens.Value(7));
  for (double& v : step) v *= -tokens.theta[7];
  EXPECT_LE(RelativeError(head.weights(), step), 1e-6);
}

// A matrix, half the squared error, no momentum: DeltaNet with beta = theta.
TEST(MemoryHeadTest, OneFullStepOfTheDeltaRuleRecallsTheValue) {
  MemorySpec spec;
  spec.num_layers = 1;
  spec.hidden_dim = 0;
  spec.residual = false;
  spec.loss_scale = 1.0f;
  spec.chunk_len = 1;
  MemoryTokens tokens(spec, 3, 13);
  tokens.theta = {1.0f, 1.0f, 1.0f};
  tokens.eta = tokens.alpha = {0.0f, 0.0f, 0.0f};
  tokens.queries = tokens.keys;
  MemoryHead head(spec, tokens.initial);
  MemoryScratch scratch;
  ASSERT_TRUE(head.Write(tokens.Rows(0, 3), BestKernels(), scratch).ok());
  EXPECT_LE(RelativeError(tokens.out, ToDoubles(tokens.values)), 1e-6);
}

TEST(MemoryHeadTest, ATokenChangesNothingThatWasReadBeforeIt) {
  for (auto rule : {MemoryRule::kToken, MemoryRule::kChunk}) {
    MemorySpec spec;
    spec.head_dim = 16;
    spec.hidden_dim = 32;
    spec.norm = MemoryNorm::kRms;
    spec.chunk_len = 16;
    spec.rule = rule;
    constexpr int64_t kTokens = 40;
    MemoryTokens before(spec, kTokens, 17);
    MemoryScratch scratch;
    MemoryHead head(spec, before.initial);
    ASSERT_TRUE(
        head.Write(before.Rows(0, kTokens), BestKernels(), scratch).ok());
    for (int64_t j : {0, 5, 6, 15, 16, 37, 39}) {
      MemoryTokens after = before;
      for (int64_t i = 0; i < spec.head_dim; ++i) {
        after.keys[j * spec.head_dim + i] *= -3.0f;
        after.values[j * spec.head_dim + i] += 1e30f;  // overflows its row
      }
      MemoryHead changed(spec, after.initial);
      // The change may well blow the memory up; what was read stays.
      (void)changed.Write(after.Rows(0, kTokens), BestKernels(), scratch);
      const int64_t floats = j * spec.head_dim;
      EXPECT_TRUE(std::equal(before.out.begin(), before.out.begin() + floats,
                             after.out.begin()))
          << "token " << j;
    }
  }
}

}  // namespace
}  // namespace headwise
