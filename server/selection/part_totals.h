// What the rows of a part add up to.

#ifndef HEADWISE_SERVER_SELECTION_PART_TOTALS_H_
#define HEADWISE_SERVER_SELECTION_PART_TOTALS_H_

#include <cstdint>
#include <map>
#include <string>

#include "server/selection/document.h"
#include "server/selection/job_status.h"

namespace headwise {

struct PartTotals {
  DomainProgress total;
  std::map<std::string, DomainProgress> domains;
  std::map<uint32_t, int64_t> flags;  // DocumentFlag -> rows that have it

  // `cost_seconds`: of the document, 0 where it was not scored.
  void Add(const ScoreRow& row, double cost_seconds);
};

// One row that counts in all of them.
DomainProgress ProgressOfRow(const ScoreRow& row, double cost_seconds);

DomainProgress& operator+=(DomainProgress& to, const DomainProgress& from);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_PART_TOTALS_H_
