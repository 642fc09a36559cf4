#include "server/selection/engine_document_scorer.h"

#include <cmath>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/scheduler/engine_stub.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers at once, `rows_at_once` rows at a time: a token costs a hundredth of
// its id, under the mask a tenth.
class FakeEngine final : public EngineStub {
 public:
  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<RequestSink> sink) override {
    if (!refusal.ok()) return refusal;
    prompts.push_back(request.prompt);
    requests.push_back(request);
    const auto count = static_cast<int64_t>(request.prompt.size());
    for (int64_t first = 0; first < count && end.ok(); first += rows_at_once) {
      SliceResult rows;
      for (int64_t i = first; i < std::min(first + rows_at_once, count); ++i) {
        const float next =
            i + 1 < count ? static_cast<float>(request.prompt[i + 1]) : 0.0f;
        rows.score_logprobs.push_back(scale * -0.01f * next);
        rows.contrast_logprobs.push_back(-0.1f * next);
      }
      sink->OnRows(first, rows);
    }
    sink->OnFinished(end, {});
    return requests.size();
  }

  int64_t rows_at_once = 3;
  float scale = 1.0f;
  absl::Status refusal, end;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<EngineRequest> requests;
};

class EngineDocumentScorerTest : public testing::Test {
 protected:
  EngineDocumentScorerTest() {
    options_.scoring.window = 5;
    options_.max_context_len = 8;
    options_.masked_plan = std::make_shared<HeadPlan>();
  }

  absl::StatusOr<DocumentLoss> Score(const std::string& text) {
    const auto scorer =
        *MakeEngineDocumentScorer(engine_, tokenizer_, options_);
    absl::StatusOr<DocumentLoss> loss = absl::UnknownError("not called");
    int calls = 0;
    scorer->Score(text, [&](absl::StatusOr<DocumentLoss> scored) {
      loss = std::move(scored);
      ++calls;
    });
    EXPECT_EQ(calls, 1);
    return loss;
  }

  FakeEngine engine_;
  ByteTokenizer tokenizer_;
  EngineScorerOptions options_;
};

// The tokens of the tokenizer are bytes, each window begins with bos (256).
TEST_F(EngineDocumentScorerTest, CutsWindowsThatBeginAsTexts) {
  const DocumentLoss loss = *Score("abcdef");
  EXPECT_THAT(engine_.prompts, ElementsAre(ElementsAre(256, 97, 98, 99, 100),
                                           ElementsAre(256, 101, 102)));
  EXPECT_EQ(loss.num_tokens, 6);
  EXPECT_NEAR(loss.base, 0.01 * (97 + 98 + 99 + 100 + 101 + 102), 1e-5);
  EXPECT_NEAR(loss.masked, 0.1 * (97 + 98 + 99 + 100 + 101 + 102), 1e-4);
  EXPECT_FALSE(loss.is_truncated);
  EXPECT_TRUE(engine_.requests[0].is_background);
  EXPECT_EQ(engine_.requests[0].contrast_plan, options_.masked_plan);
  EXPECT_EQ(engine_.requests[0].plan, nullptr);
}

TEST_F(EngineDocumentScorerTest, ChunksOfRowsDoNotMatter) {
  const DocumentLoss loss = *Score("determinism is the product");
  for (const int64_t rows : {1, 2, 4, 100}) {
    engine_.rows_at_once = rows;
    const DocumentLoss again = *Score("determinism is the product");
    EXPECT_EQ(again.base, loss.base);
    EXPECT_EQ(again.masked, loss.masked);
  }
}

TEST_F(EngineDocumentScorerTest, TellsHowMuchATextRepeatsItself) {
  options_.scoring.window = 18;
  options_.max_context_len = 18;
  // "bcdefg" of the second copy, each a half; the second window begins anew.
  EXPECT_EQ(Score("abcdefg")->repetition, 0.0);
  EXPECT_DOUBLE_EQ(Score("abcdefgabcdefg")->repetition, 3.0 / 14);
  EXPECT_DOUBLE_EQ(Score("abcdefgabcdefg123abcdefg")->repetition, 3.0 / 24);
  engine_.rows_at_once = 1;
  EXPECT_DOUBLE_EQ(Score("abcdefgabcdefg")->repetition, 3.0 / 14);
  options_.scoring.skip_tokens = 13;
  EXPECT_DOUBLE_EQ(Score("abcdefgabcdefg")->repetition, 0.5);
}

TEST_F(EngineDocumentScorerTest, SkipsAndTruncates) {
  options_.scoring.skip_tokens = 3;
  options_.scoring.max_tokens = 5;
  const DocumentLoss loss = *Score("abcdef");
  // Of "abcd" the third and fourth; of "e" none.
  EXPECT_EQ(loss.num_tokens, 2);
  EXPECT_NEAR(loss.base, 0.01 * (99 + 100), 1e-5);
  EXPECT_TRUE(loss.is_truncated);
}

TEST_F(EngineDocumentScorerTest, AnEmptyTextHasNoTokens) {
  EXPECT_EQ(Score("")->num_tokens, 0);
  EXPECT_TRUE(engine_.prompts.empty());
}

TEST_F(EngineDocumentScorerTest, SpecialTokensOfATextAreText) {
  EXPECT_EQ(Score("<s>")->num_tokens, 3);
}

TEST_F(EngineDocumentScorerTest, ErrorsEndTheText) {
  engine_.refusal = absl::ResourceExhaustedError("1024 requests wait already");
  EXPECT_EQ(Score("abc").status().code(), absl::StatusCode::kUnavailable);
  // Else every document would be called not finite.
  engine_.refusal = absl::OutOfRangeError("needs 200 bytes of 100");
  EXPECT_TRUE(absl::IsFailedPrecondition(Score("abc").status()));
  engine_.refusal = absl::OkStatus();
  engine_.end = absl::InternalError("lost");
  EXPECT_EQ(Score("abcdefgh").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(engine_.requests.size(), 1u);
  engine_.end = absl::OkStatus();
  engine_.scale = INFINITY;
  EXPECT_EQ(Score("abc").status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(EngineDocumentScorerTest, OptionsOutOfRangeAreRefusedByName) {
  const auto refusal = [this] {
    return std::string(MakeEngineDocumentScorer(engine_, tokenizer_, options_)
                           .status()
                           .message());
  };
  options_.scoring.window = 9;
  EXPECT_THAT(refusal(), HasSubstr("scoring.window: 9 is outside [2, 8]"));
  options_.scoring.window = 0;
  EXPECT_EQ(ResolveScoring(options_.scoring, 8)->window, 8);
  EXPECT_EQ(ResolveScoring(options_.scoring, 1 << 20)->window, 2048);
  options_.scoring.skip_tokens = 0;
  EXPECT_THAT(refusal(), HasSubstr("scoring.skip_tokens: 0"));
  options_.scoring.skip_tokens = 1;
  options_.scoring.max_tokens = -1;
  EXPECT_THAT(refusal(), HasSubstr("scoring.max_tokens: -1"));
}

}  // namespace
}  // namespace headwise
