// Against torch's autograd and titans-pytorch 0.5.5 (tests/golden/titans, made
// by tests/golden/titans_vectors.py, which says what is in the files).

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/neural_memory/memory_head.h"
#include "worker/neural_memory/memory_tokens.h"

namespace headwise {
namespace {

std::vector<float> ReadGolden(const std::string& name) {
  std::ifstream file(HEADWISE_SOURCE_DIR "/tests/golden/titans/" + name,
                     std::ios::binary | std::ios::ate);
  std::vector<float> floats(static_cast<size_t>(file.tellg()) / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(floats.data()),
            static_cast<std::streamsize>(floats.size() * sizeof(float)));
  EXPECT_TRUE(file.good()) << name;
  return floats;
}

// uniform() of titans_vectors.py.
std::vector<float> Uniform(uint64_t seed, int64_t n, float factor = 1.0f) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    uint64_t z =
        ((seed << 32) + static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = z ^ (z >> 31);
    values.push_back(factor * (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f));
  }
  return values;
}

const MemoryKernels& BestKernels() {
  return MemoryKernelsFor(IsasOfThisMachine().back());
}

Doubles ToDoubles(absl::Span<const float> x) {
  return Doubles(x.begin(), x.end());
}

TEST(MemoryGoldenTest, GradientsAreThoseOfAutograd) {
  const std::vector<float> golden = ReadGolden("gradients.f32");
  size_t at = 0;
  uint64_t index = 0;
  for (MemorySpec spec : AllKindsOfMemory()) {
    SCOPED_TRACE(NameOf(spec));
    if (spec.num_layers > 1) spec.hidden_dim = 32;
    spec.chunk_len = 1;
    const std::vector<float> key = Uniform(200 + index, 16);
    const std::vector<float> value = Uniform(300 + index, 16);
    const float theta = 1.0f, zero = 0.0f;
    MemoryRows rows;
    rows.num_rows = 1;
    rows.keys = key.data();
    rows.values = value.data();
    rows.theta = &theta;
    rows.eta = rows.alpha = &zero;
    // The momentum after one token is its negative gradient.
    MemoryHead head(spec, Uniform(100 + index, spec.num_weights(), 0.5f));
    MemoryScratch scratch;
    ASSERT_TRUE(head.Write(rows, BestKernels(), scratch).ok());
    ASSERT_LE(at + head.momentum().size(), golden.size());
    Doubles expected;
    for (size_t i = 0; i < head.momentum().size(); ++i) {
      expected.push_back(-double{golden[at + i]});
    }
    EXPECT_LE(RelativeError(head.momentum(), expected), 1e-6);
    at += expected.size();
    ++index;
  }
  EXPECT_EQ(at, golden.size());
}

// rows [n][64] times a matrix [64][width], in double.
std::vector<float> Project(const std::vector<float>& rows,
                           const std::vector<float>& matrix) {
  const size_t width = matrix.size() / 64;
  std::vector<float> out;
  for (size_t r = 0; r < rows.size() / 64; ++r) {
    for (size_t c = 0; c < width; ++c) {
      double sum = 0.0;
      for (size_t k = 0; k < 64; ++k) {
        sum += double{rows[64 * r + k]} * matrix[width * k + c];
      }
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

float Sigmoid(double x) { return static_cast<float>(1 / (1 + std::exp(-x))); }

constexpr int64_t kTokens = 4096, kChunk = 64;

// Mean of each chunk's rows, for each of its rows.
std::vector<float> ChunkMeans(const std::vector<float>& rows) {
  std::vector<float> means(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t chunk = i / (64 * kChunk) * 64 * kChunk;
    double sum = 0.0;
    for (size_t r = 0; r < kChunk; ++r) sum += rows[chunk + 64 * r + i % 64];
    means[i] = static_cast<float>(sum / kChunk);
  }
  return means;
}

void ExpectParity(bool with_norm) {
  MemorySpec spec;
  spec.activation = MemoryActivation::kGelu;
  spec.norm = with_norm ? MemoryNorm::kLayer : MemoryNorm::kNone;
  spec.residual = with_norm;
  spec.rule = MemoryRule::kChunk;
  spec.loss_scale = 2.0f / 64.0f;
  const std::vector<float> x = Uniform(10, kTokens * 64);
  const std::vector<float> keys = Project(x, Uniform(1, 64 * 64, 0.25f));
  const std::vector<float> values = Project(x, Uniform(2, 64 * 64, 0.25f));
  const std::vector<float> queries = Project(x, Uniform(3, 64 * 64, 0.25f));
  const std::vector<float> means = ChunkMeans(x);
  std::vector<float> theta = Project(x, Uniform(4, 64, 0.25f));
  std::vector<float> eta = Project(means, Uniform(5, 64, 0.25f));
  std::vector<float> alpha = Project(means, Uniform(6, 64, 0.25f));
  for (float& z : theta) z = 0.1f * Sigmoid(z);
  for (float& z : eta) z = Sigmoid(z + 0.5);
  for (float& z : alpha) z = Sigmoid(z - 4.0);
  std::vector<float> initial = Uniform(7, 64 * 128, 0.25f);
  for (float w : Uniform(8, 128 * 64, 0.125f)) initial.push_back(w);
  if (with_norm) {
    for (float g : Uniform(9, 64, 0.25f)) initial.push_back(g);
  }
  std::vector<float> out(x.size());
  MemoryRows rows;
  rows.num_rows = kTokens;
  rows.keys = keys.data();
  rows.values = values.data();
  rows.queries = queries.data();
  rows.out = out.data();
  rows.row_stride = 64;
  rows.theta = theta.data();
  rows.eta = eta.data();
  rows.alpha = alpha.data();
  MemoryHead head(spec, initial);
  MemoryScratch scratch;
  ASSERT_TRUE(head.Write(rows, BestKernels(), scratch).ok());

  const Doubles golden =
      ToDoubles(ReadGolden(with_norm ? "parity_norm.f32" : "parity_plain.f32"));
  const auto num_weights = static_cast<size_t>(spec.num_weights());
  std::vector<float> read;
  for (int64_t t = 0; t < kTokens; t += 16) {
    read.insert(read.end(), out.begin() + 64 * t, out.begin() + 64 * t + 64);
  }
  ASSERT_EQ(golden.size(), read.size() + 2 * num_weights);
  const auto weights = golden.begin() + static_cast<int64_t>(read.size());
  const auto momentum = weights + spec.num_weights();
  EXPECT_LE(RelativeError(read, Doubles(golden.begin(), weights)), 1e-5);
  EXPECT_LE(RelativeError(head.weights(), Doubles(weights, momentum)), 1e-5);
  EXPECT_LE(RelativeError(head.momentum(), Doubles(momentum, golden.end())),
            1e-5);
}

TEST(MemoryGoldenTest, PlainMemoryIsThatOfTitansPytorch) {
  ExpectParity(false);
}
TEST(MemoryGoldenTest, NormedMemoryIsThatOfTitansPytorch) {
  ExpectParity(true);
}

}  // namespace
}  // namespace headwise
