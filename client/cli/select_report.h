// What a selection found, as one page of HTML.

#ifndef HEADWISE_CLIENT_CLI_SELECT_REPORT_H_
#define HEADWISE_CLIENT_CLI_SELECT_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/histogram.h"

namespace headwise {

enum class DocumentOutcome { kRanked, kNotRanked, kNotScored };

// A flag that occurred; docs/selection.md says what each one means.
struct ReportFlag {
  std::string name;
  DocumentOutcome outcome = DocumentOutcome::kRanked;  // what the flag leads to
  int64_t num_documents = 0;                           // that have it
  // Of these, those that are out for this flag alone or for this one first, so
  // that each document that is out counts once. 0 if outcome is kRanked.
  int64_t num_first = 0;
};

// Losses are nats for a token, scores (masked - base) / base, throughout.
struct ReportExample {
  std::string doc_id;
  double score = 0;
  double loss_base = 0;
  double loss_masked = 0;
  int64_t num_tokens = 0;
  std::string text;  // from its begin; the page shows 300 characters
};

// Of the ranked documents of a domain.
struct ReportQuantile {
  double quantile = 0;  // 0 to 1
  double score = 0;
  double loss_base = 0;
  double loss_masked = 0;
};

struct ReportDomain {
  std::string name;  // may be empty
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
  int64_t num_scored = 0;
  int64_t num_ranked = 0;
  int64_t num_ranked_tokens = 0;
  int64_t num_selected = 0;
  int64_t num_selected_tokens = 0;
  // Of the tokens that were scored; nullopt if none was.
  std::optional<double> mean_loss_base;
  std::optional<double> mean_loss_masked;
  std::optional<double> median_score;    // nullopt if none is ranked
  std::optional<double> selected_above;  // the least score that is selected
  // Spearman's, of score and repetition: near 1, the score ranks repeats.
  std::optional<double> repetition_correlation;
  // Of the ranked documents.
  Histogram scores;
  Histogram base_losses;
  std::vector<ReportQuantile> quantiles;  // ascending
  // By score, greatest first.
  std::vector<ReportExample> top;
  std::vector<ReportExample> middle;
  std::vector<ReportExample> bottom;
};

struct SelectionReport {
  std::string title;
  std::string model;
  std::string rule;  // of the selection: "best 20 % of each domain"
  std::vector<std::string> masked_heads;  // "layer.head"
  // What else the scores depend on, as name and value, in order of display.
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<ReportFlag> flags;      // a flag of 0 documents is not shown
  std::vector<ReportDomain> domains;  // in order of display
};

// Needs no network and no script: the page forbids itself both. Whatever bytes
// the report's strings have, they are shown as text; those that are not UTF-8
// become U+FFFD. The table of domains has 500 of them, the pages below it are
// for the first 40, and what is left out is counted. Ends with a newline.
std::string RenderSelectionReport(const SelectionReport& report);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_REPORT_H_
