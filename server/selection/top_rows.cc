#include "server/selection/top_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/external_sort.h"
#include "server/selection/row_file_reader.h"
#include "server/selection/sort_key.h"

namespace headwise {
namespace {

constexpr int64_t kRowsBetweenAsking = 4096;

// Counts rows, and asks now and then whether to go on.
class Patience {
 public:
  explicit Patience(const std::function<bool()>& keep_going)
      : keep_going_(keep_going) {}

  absl::Status CountRow() {
    if (keep_going_ && num_rows_++ % kRowsBetweenAsking == 0 &&
        !keep_going_()) {
      return absl::CancelledError("the search for top rows was cancelled");
    }
    return absl::OkStatus();
  }

 private:
  const std::function<bool()>& keep_going_;
  int64_t num_rows_ = 0;
};

// A record of the sort: the domain is its group, the falling score its key, and
// its tail
//
//   doc_id, delimited; i64 position; i64 num_tokens; f64 base; f64 masked;
//   f64 repetition; u64 flags
//
// all of 8 bytes, the most significant one first. What follows the position is
// never compared.
void MakeTail(const ScoreRow& row, int64_t position, std::string& tail) {
  tail.clear();
  AppendDelimited(row.doc_id, tail);
  AppendBigEndian(static_cast<uint64_t>(position), tail);
  AppendBigEndian(static_cast<uint64_t>(row.loss.num_tokens), tail);
  AppendBigEndian(std::bit_cast<uint64_t>(row.loss.base), tail);
  AppendBigEndian(std::bit_cast<uint64_t>(row.loss.masked), tail);
  AppendBigEndian(std::bit_cast<uint64_t>(row.loss.repetition), tail);
  AppendBigEndian(row.flags, tail);
}

void ReadTail(absl::string_view tail, TopRow& top) {
  TakeDelimited(tail, top.row.doc_id);
  top.position = static_cast<int64_t>(LoadBigEndian(tail));
  DocumentLoss& loss = top.row.loss;
  loss.num_tokens = static_cast<int64_t>(LoadBigEndian(tail.substr(8)));
  loss.base = std::bit_cast<double>(LoadBigEndian(tail.substr(16)));
  loss.masked = std::bit_cast<double>(LoadBigEndian(tail.substr(24)));
  loss.repetition = std::bit_cast<double>(LoadBigEndian(tail.substr(32)));
  top.row.flags = static_cast<uint32_t>(LoadBigEndian(tail.substr(40)));
  loss.is_truncated = (top.row.flags & kTruncated) != 0;
}

absl::Status AddRows(const std::vector<std::string>& files,
                     const TopOptions& options, Patience& patience,
                     ExternalSort& sort, TopTotals& totals) {
  const absl::flat_hash_set<std::string> domains(options.domains.begin(),
                                                 options.domains.end());
  ScoreRow row;
  std::string tail;
  for (const std::string& file : files) {
    HEADWISE_ASSIGN_OR_RETURN(const auto reader, RowFileReader::Open(file));
    while (true) {
      HEADWISE_RETURN_IF_ERROR(patience.CountRow());
      HEADWISE_ASSIGN_OR_RETURN(const bool is_row, reader->Next(row));
      if (!is_row) break;
      const int64_t position = totals.num_rows++;
      if (!HasRank(row)) continue;
      if (!domains.empty() && !domains.contains(row.domain)) continue;
      ++totals.num_ranked;
      MakeTail(row, position, tail);
      HEADWISE_RETURN_IF_ERROR(
          sort.Add(row.domain, ~OrderedBits(row.score()), tail));
    }
  }
  return absl::OkStatus();
}

// Takes what the rule says from the sort's current group.
absl::Status TakeDomain(const SortGroup& group, const TopRule& rule,
                        Patience& patience, ExternalSort& sort,
                        const TakeTopRow& take, TopTotals& totals) {
  int64_t rows_left = group.num_records;
  if (rule.fraction.has_value()) {
    rows_left = RowsOfFraction(*rule.fraction, group.num_records);
  } else if (rule.count.has_value()) {
    rows_left = std::min(*rule.count, group.num_records);
  }
  int64_t tokens_left =
      rule.token_budget.value_or(std::numeric_limits<int64_t>::max());
  TopRow top;
  top.row.domain = group.name;
  top.num_ranked = group.num_records;
  for (; rows_left > 0; --rows_left) {
    HEADWISE_RETURN_IF_ERROR(patience.CountRow());
    HEADWISE_ASSIGN_OR_RETURN(const auto record, sort.NextRecord());
    if (!record.has_value()) break;
    ReadTail(record->tail, top);
    const int64_t num_tokens = top.row.loss.num_tokens;
    if (num_tokens > tokens_left) break;
    tokens_left -= num_tokens;
    ++top.rank;
    ++totals.num_taken;
    totals.num_taken_tokens += num_tokens;
    HEADWISE_RETURN_IF_ERROR(take(top));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTopRule(const TopRule& rule) {
  const int num_set = int{rule.fraction.has_value()} +
                      int{rule.count.has_value()} +
                      int{rule.token_budget.has_value()};
  if (num_set != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(num_set,
                     " of fraction, count and token_budget are set, "
                     "must be exactly 1"));
  }
  // Written so that NaN fails too.
  if (rule.fraction.has_value() &&
      !(*rule.fraction >= 0.0 && *rule.fraction <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fraction is ", *rule.fraction, ", must be in [0, 1]"));
  }
  if (rule.count.value_or(0) < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("count is ", *rule.count, ", must be at least 0"));
  }
  if (rule.token_budget.value_or(0) < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "token_budget is ", *rule.token_budget, ", must be at least 0"));
  }
  return absl::OkStatus();
}

int64_t RowsOfFraction(double fraction, int64_t num_ranked) {
  // Half a row but for the rounding of the product counts as half a row: 0.145
  // of 100 is a bit below 14.5 in binary and takes 15.
  const double product = fraction * static_cast<double>(num_ranked);
  const double rounded = std::floor(product + product * 0x1p-51 + 0.5);
  return std::min(static_cast<int64_t>(rounded), num_ranked);
}

bool HasRank(const ScoreRow& row) {
  return row.is_ranked() && row.is_scored() && std::isfinite(row.score());
}

absl::StatusOr<TopTotals> FindTopRows(const std::vector<std::string>& files,
                                      const TopOptions& options,
                                      const TakeTopRow& take) {
  HEADWISE_RETURN_IF_ERROR(CheckTopRule(options.rule));
  HEADWISE_ASSIGN_OR_RETURN(
      const auto sort,
      ExternalSort::Create({.max_memory_bytes = options.max_memory_bytes,
                            .temp_dir = options.temp_dir}));
  Patience patience(options.keep_going);
  TopTotals totals;
  HEADWISE_RETURN_IF_ERROR(AddRows(files, options, patience, *sort, totals));
  HEADWISE_RETURN_IF_ERROR(sort->Sort());
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const auto group, sort->NextGroup());
    if (!group.has_value()) return totals;
    ++totals.num_domains;
    HEADWISE_RETURN_IF_ERROR(
        TakeDomain(*group, options.rule, patience, *sort, take, totals));
  }
}

}  // namespace headwise
