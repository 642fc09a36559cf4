// The executor on tiny models: against the forward pass in double, and the bits
// over workers, threads, chunks, batches and instruction sets.

#include <cmath>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"
#include "worker/executor/reference_forward.h"

namespace headwise {
namespace {

struct ShapeParam {
  const char* name;
  TinyModelOptions options;
  // Allowed error of a log-probability.
  double tolerance;
};

std::vector<ShapeParam> Shapes() {
  std::vector<ShapeParam> shapes;
  // fp32 throughout: some hundred roundings of 2^-24 on logits below 30.
  shapes.push_back({"llama", {}, 1e-4});
  TinyModelOptions qwen2;
  qwen2.architecture = Architecture::kQwen2;
  shapes.push_back({"qwen2", qwen2, 1e-4});
  TinyModelOptions qwen3;
  qwen3.architecture = Architecture::kQwen3;
  qwen3.head_dim = 32;
  qwen3.tied_embeddings = false;
  shapes.push_back({"qwen3", qwen3, 1e-4});
  TinyModelOptions odd;  // three query heads per KV head, several vocab tiles
  odd.num_heads = 9;
  odd.num_kv_heads = 3;
  odd.head_dim = 32;
  odd.ffn_dim = 288;
  odd.vocab_size = 2500;
  odd.rope_scaling.kind = RopeScalingKind::kLinear;
  odd.rope_scaling.factor = 2.0;
  shapes.push_back({"odd", odd, 1e-4});
  // int8 activations: a relative step of 1/254 in every product; the bound is
  // what 2 layers of such noise leave of logits of a few units.
  TinyModelOptions quantized = odd;
  quantized.dtype = DType::kQ4_1;
  quantized.embedding_dtype = DType::kQ8_0;
  shapes.push_back({"quantized", quantized, 0.1});
  return shapes;
}

class ExecutorTest : public testing::TestWithParam<ShapeParam> {};

TEST_P(ExecutorTest, LogprobsEqualTheForwardPassInDouble) {
  const TinyModel model(GetParam().options);
  const std::vector<int32_t> tokens = SomeTokens(40);
  Cluster cluster(*model, 1, Options());
  const Scored scored = ScoreIn(cluster, tokens, 40, 0);
  const auto logits = ReferenceForward(*model, tokens);
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0.0;
    for (double logit : logits[t]) sum += std::exp(logit);
    EXPECT_NEAR(scored.logprobs[t], logits[t][tokens[t + 1]] - std::log(sum),
                GetParam().tolerance)
        << "token " << t;
  }
}

// The promise: one answer, whoever computes it and in whatever company.
TEST_P(ExecutorTest, BitsAreEqualOverTheWholeMatrix) {
  const TinyModel model(GetParam().options);
  const std::vector<int32_t> tokens = SomeTokens(150);
  for (KvType kv_type : {KvType::kFp16, KvType::kInt8}) {
    Cluster one(*model, 1, Options(1, Isa::kAvx2, kv_type));
    const Scored expected = ScoreIn(one, tokens, 150, 0);
    ASSERT_EQ(expected.digests.size(), 150u);
    for (int world_size : {1, 2, 3, 7}) {
      for (int threads : {1, 2}) {
        for (int64_t chunk : {1, 17, 150}) {
          if (world_size == 7 && chunk == 1) continue;  // slow, adds little
          for (Isa isa : IsasOfThisMachine()) {
            const int company = threads == 2 ? 5 : 0;
            SCOPED_TRACE(absl::StrCat("workers ", world_size, " threads ",
                                      threads, " chunk ", chunk, " isa ",
                                      IsaName(isa), " company ", company));
            Cluster cluster(*model, world_size, Options(threads, isa, kv_type));
            ASSERT_EQ(ScoreIn(cluster, tokens, chunk, company), expected);
          }
        }
      }
    }
  }
}

std::string ShapeName(const testing::TestParamInfo<ShapeParam>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Shapes, ExecutorTest, testing::ValuesIn(Shapes()),
                         ShapeName);

// A context that crosses ranges: decoding with its rows cut over threads gives
// the bits of a prefill.
TEST(ExecutorLongTest, DecodeEqualsPrefillAcrossRanges) {
  TinyModelOptions options;
  options.max_context_len = 4096;
  options.num_layers = 1;
  const TinyModel model(options);
  const std::vector<int32_t> tokens = SomeTokens(1100);
  Cluster whole(*model, 1, Options(1));
  const Scored expected = ScoreIn(whole, tokens, 1100, 0);
  Cluster cluster(*model, 2, Options(2));
  EXPECT_EQ(ScoreIn(cluster, tokens, 1, 0), expected);
}

}  // namespace
}  // namespace headwise
