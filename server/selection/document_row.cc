#include "server/selection/document_row.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"

namespace headwise {

bool CheckDocument(const RankingRules& rules, Document& document) {
  const bool is_known = rules.domains.empty() ||
                        std::find(rules.domains.begin(), rules.domains.end(),
                                  document.domain) != rules.domains.end();
  if (!is_known) document.flags |= kUnknownDomain;
  // A text that can't be read is not said to be empty, too.
  if (document.text.empty() && (document.flags & kNotScoredFlags) == 0) {
    document.flags |= kEmptyText;
  }
  return (document.flags & kNotScoredFlags) == 0;
}

ScoreRow UnscoredRow(const Document& document) {
  ScoreRow row;
  row.doc_id = document.id;
  row.domain = document.domain;
  row.flags = document.flags;
  return row;
}

absl::StatusOr<ScoreRow> ScoredRow(const RankingRules& rules,
                                   const Document& document,
                                   const absl::StatusOr<DocumentLoss>& loss) {
  ScoreRow row = UnscoredRow(document);
  if (absl::IsOutOfRange(loss.status())) {
    row.flags |= kNotFinite;
    return row;
  }
  if (!loss.ok()) return loss.status();
  if (loss->num_tokens <= 0) {
    row.flags |= kEmptyText;
    return row;
  }
  if (!std::isfinite(loss->base) || !std::isfinite(loss->masked)) {
    row.flags |= kNotFinite;
    return row;
  }
  row.loss = *loss;
  if (loss->is_truncated) row.flags |= kTruncated;
  if (loss->num_tokens < rules.min_tokens) row.flags |= kTooShort;
  if (loss->repetition > rules.max_repetition) row.flags |= kRepetitive;
  if (row.loss_base() < rules.min_loss || !std::isfinite(row.score())) {
    row.flags |= kLowLoss;
  }
  return row;
}

}  // namespace headwise
