#include "server/selection/part_totals.h"

#include "server/selection/flag_names.h"
#include "server/selection/top_rows.h"

namespace headwise {

DomainProgress ProgressOfRow(const ScoreRow& row, double cost_seconds) {
  DomainProgress progress;
  progress.num_documents = 1;
  progress.num_scored = row.is_scored() ? 1 : 0;
  progress.num_ranked = HasRank(row) ? 1 : 0;
  progress.num_tokens = row.loss.num_tokens;
  progress.cost_seconds = cost_seconds;
  return progress;
}

DomainProgress& operator+=(DomainProgress& to, const DomainProgress& from) {
  to.num_documents += from.num_documents;
  to.num_scored += from.num_scored;
  to.num_ranked += from.num_ranked;
  to.num_tokens += from.num_tokens;
  to.cost_seconds += from.cost_seconds;
  return to;
}

void PartTotals::Add(const ScoreRow& row, double cost_seconds) {
  const DomainProgress progress = ProgressOfRow(row, cost_seconds);
  total += progress;
  domains[row.domain] += progress;
  for (const DocumentFlag flag : AllDocumentFlags()) {
    if ((row.flags & flag) != 0) ++flags[flag];
  }
}

}  // namespace headwise
