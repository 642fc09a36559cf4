// The best documents of every domain, exactly, from a job's row files.

#ifndef HEADWISE_SERVER_SELECTION_TOP_ROWS_H_
#define HEADWISE_SERVER_SELECTION_TOP_ROWS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/selection/document.h"

namespace headwise {

// How much of each domain is taken, in rank order. Exactly one is set.
struct TopRule {
  std::optional<double> fraction;  // of its ranked rows, 0 to 1; half rounds up
  std::optional<int64_t> count;    // rows, >= 0
  // Tokens, >= 0: rows while the sum of their n_tokens stays within it. The
  // first row that would exceed it ends the domain.
  std::optional<int64_t> token_budget;
};

// InvalidArgument names the field, the value and the limit.
absl::Status CheckTopRule(const TopRule& rule);

// Rows of a domain with `num_ranked` ranked rows that `fraction` takes.
int64_t RowsOfFraction(double fraction, int64_t num_ranked);

struct TopOptions {
  TopRule rule;
  std::vector<std::string> domains;  // empty: all
  // Of the sort; at least kMinSortBytes (external_sort.h). Reading needs about
  // 10 MB more.
  int64_t max_memory_bytes = int64_t{256} << 20;
  // Takes about 60 bytes and the id of each ranked row; twice that if it comes
  // to more than max_memory_bytes^2 / 64 KiB, 1 TB of the default. Nothing
  // stays there, whatever becomes of the process.
  std::string temp_dir;
  // Asked every few thousand rows; false ends the search with Cancelled.
  std::function<bool()> keep_going;  // may be empty
};

struct TopRow {
  ScoreRow row;
  int64_t rank = 0;        // in its domain, from 1
  int64_t num_ranked = 0;  // of its domain
  int64_t position = 0;    // rows before it in all files, of any kind
};

struct TopTotals {
  int64_t num_rows = 0;     // read
  int64_t num_ranked = 0;   // of the domains asked for
  int64_t num_domains = 0;  // with a ranked row
  int64_t num_taken = 0;
  int64_t num_taken_tokens = 0;
};

// True if the row has a place in its domain's ranking: ranked by its flags,
// scored, and with a finite score.
bool HasRank(const ScoreRow& row);

using TakeTopRow = std::function<absl::Status(const TopRow&)>;

// Reads `files` (.jsonl or .jsonl.zst of RowToJson's lines, in output order)
// once and calls `take` for each row of the rule: domains by the bytes of their
// names; within a domain by falling score, then by the bytes of doc_id, then by
// position. An error of `take` ends the search and is returned.
//
// Errors: InvalidArgument (an option), DataLoss (a file that is not whole, or a
// line that is no row: names file and line), ResourceExhausted (no room left in
// temp_dir, or a row too large for max_memory_bytes), Cancelled, those of
// opening a file.
absl::StatusOr<TopTotals> FindTopRows(const std::vector<std::string>& files,
                                      const TopOptions& options,
                                      const TakeTopRow& take);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_TOP_ROWS_H_
