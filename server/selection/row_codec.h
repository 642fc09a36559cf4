// A score row as a line of JSON.

#ifndef HEADWISE_SERVER_SELECTION_ROW_CODEC_H_
#define HEADWISE_SERVER_SELECTION_ROW_CODEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/document.h"

namespace headwise {

// One object without white space or an end of line, its keys in this order:
//
//   doc_id, domain            strings; what is no UTF-8 in them becomes U+FFFD
//   n_tokens                  integer
//   loss_base, loss_masked    nats for a token
//   score                     null also if it is not finite (nll_base 0)
//   flags                     names by rising bit (flag_names.h)
//   nll_base, nll_masked      nats, summed over n_tokens
//   repetition                0 to 1
//
// Numbers are the shortest text that reads back as the same double. Losses and
// repetition are null where n_tokens is 0. Requires known flags, n_tokens >= 0
// and, where it is not 0, finite losses and a repetition from 0 to 1.
// loss.is_truncated is not written: kTruncated is.
std::string RowToJson(const ScoreRow& row);

// As RowToJson, at the end of `out`: for many rows.
void AppendRowJson(const ScoreRow& row, std::string& out);

// Reads what RowToJson writes and nothing else, except that numbers may be
// spelled otherwise. InvalidArgument names the byte (from 0), what was expected
// there and what stands there; also if a loss or the score is not that of the
// sums. loss.is_truncated is set from the flags.
absl::StatusOr<ScoreRow> ParseRow(absl::string_view line);

// As ParseRow, into a row whose strings are used again: for many rows. On an
// error `row` holds anything.
absl::Status ParseRowInto(absl::string_view line, ScoreRow& row);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_ROW_CODEC_H_
