// Calibrated heads against the definition, in double.

#include <cmath>
#include <random>

#include "gtest/gtest.h"
#include "worker/executor/policy_attention.h"

namespace headwise {
namespace {

constexpr int64_t kDim = 16;

Hyperparameters OneHead() {
  Hyperparameters hyper;
  hyper.num_layers = hyper.num_heads = hyper.num_kv_heads = 1;
  hyper.head_dim = kDim;
  hyper.rope.rotary_dim = kDim;
  return hyper;
}

// A unit with `n` positions of noise, and a query for each.
class CalibrationCase {
 public:
  explicit CalibrationCase(int64_t n)
      : kernels_(KernelsFor(IsasOfThisMachine().back())), n_(n) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (std::vector<float>* x : {&queries_, &keys_, &values_}) {
      x->resize(static_cast<size_t>(n * kDim));
      for (float& value : *x) value = normal(random);
    }
    kv_.layout = {KvElement::kFp32, kDim};
    const int64_t num_blocks = (n + 63) / 64;
    memory_.Reserve(num_blocks * kv_.layout.block_bytes());
    std::fill_n(memory_.data(), num_blocks * kv_.layout.block_bytes(), 0);
    for (int64_t b = 0; b < num_blocks; ++b) {
      kv_.blocks.push_back(memory_.data() + b * kv_.layout.block_bytes());
    }
    for (int64_t t = 0; t < n; ++t) {
      kernels_.append({kv_.layout, kv_.blocks[t / 64], t % 64,
                       keys_.data() + t * kDim, values_.data() + t * kDim});
    }
  }

  std::vector<float> Attend(float beta, const std::vector<int64_t>& sinks) {
    kv_.calibrated.clear();
    kv_.calibrated.push_back({0, beta, 0.1f, SinkSearch(), {{0, sinks}}});
    RotationTable rotations(hyper_.rope, kernels_);
    PolicyAttention attention(kernels_, hyper_, rotations);
    std::vector<float> out(static_cast<size_t>(n_ * kDim));
    for (int64_t first = 0; first < n_; first += 32) {
      UnitRows rows;
      rows.kv = &kv_;
      rows.prompt_len = n_;
      rows.first_position = first;
      rows.num_rows = std::min<int64_t>(32, n_ - first);
      rows.queries = queries_.data() + first * kDim;
      rows.out = out.data() + first * kDim;
      attention.Attend(rows);
    }
    return out;
  }

  // A'[i, j] of the paper for one query.
  std::vector<double> Reference(int64_t i, double beta,
                                const std::vector<int64_t>& sinks) const {
    std::vector<double> probs;
    double sum = 0.0;
    for (int64_t j = 0; j <= i; ++j) {
      double score = 0.0;
      for (int64_t d = 0; d < kDim; ++d) {
        score += double{queries_[i * kDim + d]} * keys_[j * kDim + d];
      }
      probs.push_back(std::exp(score));
      sum += probs.back();
    }
    double freed = 0.0;
    double others = 0.0;
    for (int64_t j = 0; j <= i; ++j) {
      probs[j] /= sum;
      const bool is_sink =
          std::find(sinks.begin(), sinks.end(), j) != sinks.end();
      (is_sink ? freed : others) += (is_sink ? 1.0 - beta : 1.0) * probs[j];
    }
    std::vector<double> out(kDim, 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      const bool is_sink =
          std::find(sinks.begin(), sinks.end(), j) != sinks.end();
      const double prob = probs[j] * (is_sink ? beta : 1.0 + freed / others);
      for (int64_t d = 0; d < kDim; ++d) {
        out[d] += prob * values_[j * kDim + d];
      }
    }
    return out;
  }
  int64_t size() const { return n_; }

 private:
  const Kernels& kernels_;
  const Hyperparameters hyper_ = OneHead();
  const int64_t n_;
  std::vector<float> queries_, keys_, values_;
  AlignedBuffer<uint8_t> memory_;
  UnitKv kv_;
};

TEST(PolicyCalibrationTest, SinksKeepBetaOfTheirProbability) {
  CalibrationCase test(700);
  const std::vector<int64_t> sinks = {3, 4, 200, 511, 512};
  for (const double beta : {0.0, 0.4, 0.9}) {
    const std::vector<float> out = test.Attend(static_cast<float>(beta), sinks);
    for (int64_t i = 0; i < test.size(); ++i) {
      const std::vector<double> expected = test.Reference(i, beta, sinks);
      for (int64_t d = 0; d < kDim; ++d) {
        ASSERT_NEAR(out[i * kDim + d], expected[d], 2e-5) << i << " " << beta;
      }
    }
  }
}

TEST(PolicyCalibrationTest, BetaOfOneChangesNothingButRounding) {
  CalibrationCase test(300);
  const std::vector<float> plain = test.Attend(1.0f, {});
  const std::vector<float> same = test.Attend(1.0f, {7, 100});
  for (size_t i = 0; i < plain.size(); ++i) {
    ASSERT_NEAR(plain[i], same[i], 1e-5);
  }
}

}  // namespace
}  // namespace headwise
