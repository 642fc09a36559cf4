// What a memory refuses, and that it is then as it was.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/neural_memory/memory_head.h"
#include "worker/neural_memory/memory_tokens.h"

namespace headwise {
namespace {

using testing::HasSubstr;

const MemoryKernels& BestKernels() {
  return MemoryKernelsFor(IsasOfThisMachine().back());
}

absl::Status WriteAll(MemoryHead& head, MemoryTokens& tokens, int64_t begin,
                      int64_t end) {
  MemoryScratch scratch;
  return head.Write(tokens.Rows(begin, end), BestKernels(), scratch);
}

TEST(MemoryRefusalsTest, AChunkThatBlowsUpIsUndone) {
  for (auto rule : {MemoryRule::kToken, MemoryRule::kChunk}) {
    MemorySpec spec;
    spec.head_dim = 32;
    spec.hidden_dim = 48;
    spec.chunk_len = 20;
    spec.rule = rule;
    spec.max_norm = 100.0f;
    MemoryTokens tokens(spec, 100, 29);
    MemoryHead head(spec, tokens.initial);
    ASSERT_TRUE(WriteAll(head, tokens, 0, 45).ok());
    MemoryHead last_good(spec, tokens.initial);
    MemoryTokens others = tokens;
    ASSERT_TRUE(WriteAll(last_good, others, 0, 60).ok());

    for (int64_t t = 61; t < 75; ++t) tokens.theta[t] = 1e5f;
    const absl::Status status = WriteAll(head, tokens, 45, 100);
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(status.message(), HasSubstr("token 79"));
    EXPECT_THAT(status.message(), HasSubstr("max_norm is 100"));
    EXPECT_THAT(status.message(),
                HasSubstr("its chunk's 20 tokens, from 60 on, are dropped"));
    EXPECT_EQ(head.num_tokens(), 60);
    EXPECT_EQ(head.num_open_rows(), 0);
    EXPECT_EQ(SaveMemoryHead(head), SaveMemoryHead(last_good));
    // It goes on from there.
    ASSERT_TRUE(WriteAll(head, others, 60, 100).ok());
    ASSERT_TRUE(WriteAll(last_good, others, 60, 100).ok());
    EXPECT_EQ(SaveMemoryHead(head), SaveMemoryHead(last_good));
  }
}

TEST(MemoryRefusalsTest, WeightsThatAreNoNumbersAreUndoneToo) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  spec.chunk_len = 4;
  spec.max_norm = kMaxMemoryNorm;
  MemoryTokens tokens(spec, 4, 30);
  tokens.values[5] = 3e38f;  // times loss_scale: infinite
  MemoryHead head(spec, tokens.initial);
  EXPECT_EQ(WriteAll(head, tokens, 0, 4).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(head.weights(), absl::MakeConstSpan(tokens.initial));
  EXPECT_EQ(head.num_tokens(), 0);
}

TEST(MemoryRefusalsTest, AnyFlippedByteIsSeen) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.num_layers = 1;
  spec.hidden_dim = 0;
  MemoryTokens tokens(spec, 70, 31);
  MemoryHead head(spec, tokens.initial);
  ASSERT_TRUE(WriteAll(head, tokens, 0, 70).ok());
  const std::string good = SaveMemoryHead(head);
  for (size_t i = 0; i < good.size(); i += 7) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_EQ(LoadMemoryHead(spec, bad).status().code(),
              absl::StatusCode::kDataLoss)
        << i;
  }
  for (size_t size : {size_t{0}, size_t{40}, size_t{96}, good.size() - 1}) {
    EXPECT_EQ(LoadMemoryHead(spec, good.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(LoadMemoryHead(spec, good + "x").status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(MemoryRefusalsTest, ASnapshotOfAnotherSpecIsRefused) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  MemoryTokens tokens(spec, 3, 32);
  const std::string bytes = SaveMemoryHead(MemoryHead(spec, tokens.initial));
  MemorySpec others[5] = {spec, spec, spec, spec, spec};
  others[0].head_dim = 32;
  others[1].chunk_len = 32;
  others[2].activation = MemoryActivation::kGelu;
  others[3].loss_scale = 1.0f;
  others[4].max_norm = 5.0f;
  for (const MemorySpec& other : others) {
    EXPECT_EQ(LoadMemoryHead(other, bytes).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST(MemoryChecksTest, RowsNameTheirFirstFault) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  const MemoryTokens good(spec, 5, 33);
  const auto message = [&](const auto& spoil) {
    MemoryTokens tokens = good;
    spoil(tokens);
    return std::string(CheckMemoryRows(spec, tokens.Rows(0, 5)).message());
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(message([](MemoryTokens&) {}), "");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.keys[2 * 16 + 3] = nan; }),
            "keys[2][3] = nan: must be a finite number");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.values[79] = -infinity; }),
            "values[4][15] = -inf: must be a finite number");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.queries[0] = infinity; }),
            "queries[0][0] = inf: must be a finite number");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.theta[1] = -0.5f; }),
            "theta[1] = -0.5: must be 0 to 1e+06");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.eta[4] = 1.5f; }),
            "eta[4] = 1.5: must be 0 to 1");
  EXPECT_EQ(message([&](MemoryTokens& t) { t.alpha[0] = nan; }),
            "alpha[0] = nan: must be 0 to 1");
}

TEST(MemoryChecksTest, SpecsNameTheirFault) {
  const auto message = [](const auto& spoil) {
    MemorySpec spec;
    spoil(spec);
    return std::string(CheckMemorySpec(spec).message());
  };
  EXPECT_EQ(message([](MemorySpec&) {}), "");
  EXPECT_EQ(message([](MemorySpec& s) { s.head_dim = 24; }),
            "head_dim = 24: must be a multiple of 16");
  EXPECT_EQ(message([](MemorySpec& s) { s.head_dim = 272; }),
            "head_dim = 272: must be 16 to 256");
  EXPECT_EQ(message([](MemorySpec& s) { s.num_layers = 5; }),
            "num_layers = 5: must be 1 to 4");
  EXPECT_EQ(message([](MemorySpec& s) { s.num_layers = 1; }),
            "hidden_dim = 128: must be 0 to 0");
  EXPECT_EQ(message([](MemorySpec& s) { s.hidden_dim = 2048; }),
            "hidden_dim = 2048: must be 16 to 1024");
  EXPECT_EQ(message([](MemorySpec& s) { s.chunk_len = 0; }),
            "chunk_len = 0: must be 1 to 4096");
  EXPECT_EQ(message([](MemorySpec& s) { s.loss_scale = 0.0f; }),
            "loss_scale = 0: must be above 0 and at most 1000");
  EXPECT_EQ(message([](MemorySpec& s) { s.max_norm = std::nanf(""); }),
            "max_norm = nan: must be above 0 and at most 1e+18");
}

}  // namespace
}  // namespace headwise
