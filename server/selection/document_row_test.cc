#include "server/selection/document_row.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace headwise {
namespace {

DocumentLoss Loss(int64_t num_tokens, double base, double masked) {
  return {.base = base, .masked = masked, .num_tokens = num_tokens};
}

TEST(DocumentRow, ARankedRowHasNoFlags) {
  Document document{.id = "a", .domain = "web", .text = "text"};
  ASSERT_TRUE(CheckDocument({}, document));
  const auto row = ScoredRow({}, document, Loss(100, 200.0, 250.0));
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->flags, 0u);
  EXPECT_EQ(row->doc_id, "a");
  EXPECT_DOUBLE_EQ(row->score(), 0.25);
}

TEST(DocumentRow, WhatTheTextDecidesIsNotScored) {
  Document empty{.id = "a"};
  EXPECT_FALSE(CheckDocument({}, empty));
  EXPECT_EQ(UnscoredRow(empty).flags, kEmptyText);

  Document broken{.id = "a", .flags = kBrokenRecord | kMadeUpId};
  EXPECT_FALSE(CheckDocument({}, broken));
  EXPECT_EQ(UnscoredRow(broken).flags, kBrokenRecord | kMadeUpId);

  const RankingRules rules{.domains = {"code", "math"}};
  Document other{.id = "a", .domain = "web", .text = "text"};
  EXPECT_FALSE(CheckDocument(rules, other));
  EXPECT_EQ(UnscoredRow(other).flags, kUnknownDomain);
  Document known{.id = "a", .domain = "math", .text = "text"};
  EXPECT_TRUE(CheckDocument(rules, known));
}

TEST(DocumentRow, LimitsOfTheRankingAreInclusive) {
  const RankingRules rules{.min_tokens = 64, .min_loss = 0.5};
  const Document document{.id = "a", .text = "text"};
  EXPECT_EQ(ScoredRow(rules, document, Loss(64, 32.0, 40.0))->flags, 0u);
  EXPECT_EQ(ScoredRow(rules, document, Loss(63, 63.0, 70.0))->flags, kTooShort);
  EXPECT_EQ(ScoredRow(rules, document, Loss(64, 31.9, 40.0))->flags, kLowLoss);
  EXPECT_EQ(ScoredRow(rules, document, Loss(2, 0.1, 0.2))->flags,
            kTooShort | kLowLoss);
}

TEST(DocumentRow, WhatRepeatsItselfIsNotRankedWhereTheRulesSaySo) {
  const Document document{.id = "a", .text = "text"};
  DocumentLoss loss = Loss(100, 200.0, 250.0);
  loss.repetition = 0.25;
  EXPECT_EQ(ScoredRow({}, document, loss)->flags, 0u);
  EXPECT_EQ(ScoredRow({.max_repetition = 0.25}, document, loss)->flags, 0u);
  const ScoreRow row = *ScoredRow({.max_repetition = 0.24}, document, loss);
  EXPECT_EQ(row.flags, kRepetitive);
  EXPECT_FALSE(row.is_ranked());
  EXPECT_EQ(row.loss.repetition, 0.25);
}

TEST(DocumentRow, ALossOfZeroHasNoRatioWhateverTheRules) {
  const RankingRules rules{.min_tokens = 0, .min_loss = 0.0};
  const Document document{.id = "a", .text = "text"};
  EXPECT_EQ(ScoredRow(rules, document, Loss(5, 0.0, 0.0))->flags, kLowLoss);
  EXPECT_EQ(ScoredRow(rules, document, Loss(5, 0.0, 1.0))->flags, kLowLoss);
}

TEST(DocumentRow, WhatCouldNotBeScoredIsARow) {
  const Document document{.id = "a", .text = "text", .flags = kMadeUpId};
  const double inf = std::numeric_limits<double>::infinity();
  for (const absl::StatusOr<DocumentLoss>& loss :
       {absl::StatusOr<DocumentLoss>(absl::OutOfRangeError("nan")),
        absl::StatusOr<DocumentLoss>(Loss(5, NAN, 1.0)),
        absl::StatusOr<DocumentLoss>(Loss(5, 1.0, inf))}) {
    const auto row = ScoredRow({}, document, loss);
    ASSERT_TRUE(row.ok());
    EXPECT_EQ(row->flags, kNotFinite | kMadeUpId);
    EXPECT_FALSE(row->is_scored());
  }
  EXPECT_EQ(ScoredRow({}, document, Loss(0, 0.0, 0.0))->flags,
            kEmptyText | kMadeUpId);
  EXPECT_TRUE(absl::IsInternal(
      ScoredRow({}, document, absl::InternalError("x")).status()));
}

TEST(DocumentRow, TruncationIsToldAndRanked) {
  DocumentLoss loss = Loss(100, 200.0, 250.0);
  loss.is_truncated = true;
  const auto row = ScoredRow({}, {.id = "a", .text = "text"}, loss);
  EXPECT_EQ(row->flags, kTruncated);
  EXPECT_TRUE(row->is_ranked());
}

}  // namespace
}  // namespace headwise
