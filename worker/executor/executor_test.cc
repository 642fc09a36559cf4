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

// Allowed error of a log-probability. In fp32 throughout: some hundred
// roundings of 2^-24 on logits below 30. With int8 activations: a relative step
// of 1/254 in every product; what 2 layers of such noise leave of logits of a
// few units.
double ToleranceOf(const TinyModelOptions& options) {
  return options.dtype == DType::kQ4_1 ? 0.1 : 1e-4;
}

class ExecutorTest : public testing::TestWithParam<NamedModel> {};

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
                ToleranceOf(GetParam().options))
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

INSTANTIATE_TEST_SUITE_P(Shapes, ExecutorTest, testing::ValuesIn(NamedModels()),
                         NameOfModel);

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
