// What is told of a document: its row, from what it is and what it scored.

#ifndef HEADWISE_SERVER_SELECTION_DOCUMENT_ROW_H_
#define HEADWISE_SERVER_SELECTION_DOCUMENT_ROW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/selection/document.h"

namespace headwise {

// Which rows are ranked; part of a job's manifest.
struct RankingRules {
  int64_t min_tokens = 64;           // fewer: kTooShort
  double min_loss = 0.2;             // nats a token; less: kLowLoss
  double max_repetition = 1.0;       // 0 to 1; more: kRepetitive
  std::vector<std::string> domains;  // others: kUnknownDomain; empty: any
};

// Sets the flags that the text itself decides. True if it is to be scored.
bool CheckDocument(const RankingRules& rules, Document& document);

// The row of a document that CheckDocument refused.
ScoreRow UnscoredRow(const Document& document);

// The row of a document that was scored. OutOfRange becomes kNotFinite; other
// errors are returned. A loss without a finite ratio is kLowLoss whatever the
// rules.
absl::StatusOr<ScoreRow> ScoredRow(const RankingRules& rules,
                                   const Document& document,
                                   const absl::StatusOr<DocumentLoss>& loss);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DOCUMENT_ROW_H_
