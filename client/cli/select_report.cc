#include "client/cli/select_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/html_text.h"
#include "client/cli/report_style.h"

namespace headwise {
namespace {

constexpr size_t kMaxTableDomains = 500;
constexpr size_t kMaxShownDomains = 40;
constexpr size_t kMaxShownHeads = 96;
constexpr size_t kMaxExamples = 20;  // of each of top, middle, bottom
constexpr int64_t kExampleCharacters = 300;
constexpr char kNothing[] = "\xE2\x80\x93";  // an en dash

std::string Number(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return kNothing;
  const double size = std::abs(*value);
  if (size != 0 && (size < 1e-3 || size >= 1e5)) {
    return absl::StrFormat("%.3g", *value);
  }
  return absl::StrFormat("%.3f", *value);
}

std::string Percent(int64_t part, int64_t whole) {
  if (whole == 0) return kNothing;
  return absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(part) /
                                        static_cast<double>(whole));
}

std::string NameOf(const ReportDomain& domain) {
  return domain.name.empty() ? "(no domain)" : EscapeHtml(domain.name);
}

struct Totals {
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
  int64_t num_scored = 0;
  int64_t num_ranked = 0;
  int64_t num_selected = 0;
  int64_t num_selected_tokens = 0;

  int64_t num_not_ranked() const { return num_scored - num_ranked; }
  int64_t num_not_scored() const { return num_documents - num_scored; }
};

Totals Sum(const std::vector<ReportDomain>& domains) {
  Totals totals;
  for (const ReportDomain& domain : domains) {
    totals.num_documents += domain.num_documents;
    totals.num_tokens += domain.num_tokens;
    totals.num_scored += domain.num_scored;
    totals.num_ranked += domain.num_ranked;
    totals.num_selected += domain.num_selected;
    totals.num_selected_tokens += domain.num_selected_tokens;
  }
  return totals;
}

// A horizontal strip cut in the ratio of its parts; (CSS class, count).
void AppendStrip(const std::vector<std::pair<const char*, int64_t>>& parts,
                 const std::string& label, std::string* out) {
  double sum = 0;
  for (const auto& [style, count] : parts) sum += static_cast<double>(count);
  if (sum == 0) return;
  absl::StrAppend(out,
                  "<svg class=\"strip\" viewBox=\"0 0 1000 10\" "
                  "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
                  label, "\">");
  double left = 0;
  for (const auto& [style, count] : parts) {
    const double width = 1000 * static_cast<double>(count) / sum;
    absl::StrAppendFormat(out,
                          "<rect class=\"%s\" x=\"%.2f\" y=\"0\" "
                          "width=\"%.2f\" height=\"10\"/>",
                          style, left, width);
    left += width;
  }
  absl::StrAppend(out, "</svg>\n");
}

void AppendTile(const std::string& value, absl::string_view what,
                std::string* out) {
  absl::StrAppend(out, "<div class=\"tile\"><b>", value, "</b><span>", what,
                  "</span></div>\n");
}

void AppendFact(absl::string_view name, absl::string_view value,
                std::string* out) {
  if (value.empty()) return;
  absl::StrAppend(out, "<dt>", EscapeHtml(name), "</dt><dd>", EscapeHtml(value),
                  "</dd>\n");
}

void AppendSummary(const SelectionReport& report, const Totals& totals,
                   std::string* out) {
  absl::StrAppend(
      out, "<h1>", EscapeHtml(report.title),
      "</h1>\n<p class=\"lead\">Each document is read by the model as it is "
      "and with its retrieval heads masked. Its score is how much greater the "
      "loss becomes, as a part of the loss: a high one means that the text "
      "needs those heads. Scores are compared within a domain.</p>\n"
      "<div class=\"tiles\">\n");
  AppendTile(GroupedDigits(totals.num_documents), "documents", out);
  AppendTile(GroupedDigits(totals.num_tokens), "tokens scored", out);
  AppendTile(GroupedDigits(static_cast<int64_t>(report.domains.size())),
             "domains", out);
  AppendTile(GroupedDigits(totals.num_ranked), "documents ranked", out);
  AppendTile(GroupedDigits(totals.num_selected), "documents selected", out);
  AppendTile(GroupedDigits(totals.num_selected_tokens), "tokens selected", out);
  absl::StrAppend(out, "</div>\n<h2>What was scored</h2>\n<dl>\n");
  AppendFact("Model", report.model, out);
  AppendFact("Selection", report.rule, out);
  for (const auto& [name, value] : report.facts) AppendFact(name, value, out);
  absl::StrAppend(
      out, "<dt>Heads masked</dt><dd>",
      GroupedDigits(static_cast<int64_t>(report.masked_heads.size())),
      ", as layer.head<br>\n");
  const size_t num_shown = std::min(report.masked_heads.size(), kMaxShownHeads);
  for (size_t i = 0; i < num_shown; ++i) {
    absl::StrAppend(out, "<code class=\"chip\">",
                    EscapeHtml(report.masked_heads[i]), "</code>\n");
  }
  if (num_shown < report.masked_heads.size()) {
    absl::StrAppend(out, "and ", report.masked_heads.size() - num_shown,
                    " more\n");
  }
  absl::StrAppend(out, "</dd>\n</dl>\n");
}

void AppendOutcome(absl::string_view row_class, absl::string_view key,
                   absl::string_view name, int64_t count, std::string* out) {
  absl::StrAppend(out, "<tr class=\"", row_class, "\"><td>");
  if (!key.empty()) {
    absl::StrAppend(out, "<span class=\"key ", key, "\"></span>");
  }
  absl::StrAppend(out, name, "</td><td></td><td>", GroupedDigits(count),
                  "</td></tr>\n");
}

// Rows of the flags that lead to `outcome`. Returns the documents that they
// count.
int64_t AppendFlags(const SelectionReport& report, DocumentOutcome outcome,
                    std::string* out) {
  int64_t sum = 0;
  for (const ReportFlag& flag : report.flags) {
    if (flag.outcome != outcome || flag.num_documents == 0) continue;
    absl::StrAppend(out, "<tr class=\"part\"><td><code>", EscapeHtml(flag.name),
                    "</code></td><td>", GroupedDigits(flag.num_documents),
                    "</td><td>", GroupedDigits(flag.num_first), "</td></tr>\n");
    sum += flag.num_first;
  }
  return sum;
}

void AppendRemarks(const SelectionReport& report, std::string* out) {
  std::vector<std::string> remarks;
  for (const ReportFlag& flag : report.flags) {
    if (flag.outcome != DocumentOutcome::kRanked || flag.num_documents == 0) {
      continue;
    }
    remarks.push_back(absl::StrCat("<code>", EscapeHtml(flag.name), "</code> ",
                                   GroupedDigits(flag.num_documents)));
  }
  if (remarks.empty()) return;
  absl::StrAppend(out, "<p class=\"note\">Flags that keep no document out: ",
                  absl::StrJoin(remarks, ", "), ".</p>\n");
}

// The second column has every document with a flag, the third adds up.
void AppendOutcomes(const SelectionReport& report, const Totals& totals,
                    std::string* out) {
  absl::StrAppend(out, "<h2>What became of the documents</h2>\n");
  AppendStrip({{"selected", totals.num_selected},
               {"bar", totals.num_ranked - totals.num_selected},
               {"outside", totals.num_not_ranked()},
               {"lost", totals.num_not_scored()}},
              "Shares of documents selected, ranked, not ranked, not scored",
              out);
  absl::StrAppend(
      out,
      "<div class=\"scroll\"><table class=\"outcomes\">\n<tr>"
      "<th>Outcome</th><th>with flag</th><th>documents</th></tr>\n");
  AppendOutcome("group", "selected", "Ranked and selected", totals.num_selected,
                out);
  AppendOutcome("group", "bar", "Ranked, not selected",
                totals.num_ranked - totals.num_selected, out);
  AppendOutcome("group", "outside", "Scored, out of the ranking",
                totals.num_not_ranked(), out);
  const int64_t num_not_ranked =
      AppendFlags(report, DocumentOutcome::kNotRanked, out);
  AppendOutcome("group", "lost", "Not scored", totals.num_not_scored(), out);
  const int64_t num_not_scored =
      AppendFlags(report, DocumentOutcome::kNotScored, out);
  AppendOutcome("sum", "", "All documents", totals.num_documents, out);
  absl::StrAppend(out, "</table></div>\n");
  if (num_not_ranked != totals.num_not_ranked() ||
      num_not_scored != totals.num_not_scored()) {
    absl::StrAppendFormat(
        out,
        "<p class=\"warning\">The flags account for %d documents out of the "
        "ranking and %d not scored, which is not what the domains add up "
        "to.</p>\n",
        num_not_ranked, num_not_scored);
  } else if (!report.flags.empty()) {
    absl::StrAppend(out,
                    "<p class=\"note\">A document with several flags counts "
                    "under the first.</p>\n");
  }
  AppendRemarks(report, out);
}

void AppendDomainTable(const SelectionReport& report, std::string* out) {
  absl::StrAppend(
      out,
      "<h2>Domains</h2>\n<div class=\"scroll\"><table>\n<tr><th>Domain</th>"
      "<th>documents</th><th>tokens</th><th>ranked</th><th>selected</th>"
      "<th>mean loss<br>base</th><th>mean loss<br>masked</th>"
      "<th>median<br>score</th></tr>\n");
  const size_t num_shown = std::min(report.domains.size(), kMaxTableDomains);
  for (size_t i = 0; i < num_shown; ++i) {
    const ReportDomain& domain = report.domains[i];
    absl::StrAppend(out, "<tr><td class=\"name\">");
    if (i < kMaxShownDomains) {
      absl::StrAppend(out, "<a href=\"#domain-", i + 1, "\">", NameOf(domain),
                      "</a>");
    } else {
      absl::StrAppend(out, NameOf(domain));
    }
    for (const std::string& cell :
         {GroupedDigits(domain.num_documents), GroupedDigits(domain.num_tokens),
          GroupedDigits(domain.num_ranked), GroupedDigits(domain.num_selected),
          Number(domain.mean_loss_base), Number(domain.mean_loss_masked),
          Number(domain.median_score)}) {
      absl::StrAppend(out, "</td><td>", cell);
    }
    absl::StrAppend(out, "</td></tr>\n");
  }
  absl::StrAppend(out, "</table></div>\n");
  if (num_shown < report.domains.size()) {
    absl::StrAppend(out, "<p class=\"note\">And ",
                    report.domains.size() - num_shown, " more.</p>\n");
  }
}

void AppendShares(const ReportDomain& domain, std::string* out) {
  absl::StrAppend(out, "<div class=\"card\"><h3>Selection</h3>\n");
  struct Share {
    const char* what;
    int64_t part;
    int64_t whole;
  };
  for (const Share& share :
       {Share{"documents", domain.num_selected, domain.num_ranked},
        Share{"tokens", domain.num_selected_tokens,
              domain.num_ranked_tokens}}) {
    absl::StrAppend(out, "<p><b>", Percent(share.part, share.whole),
                    "</b> of ranked ", share.what, "<br><span class=\"note\">",
                    GroupedDigits(share.part), " of ",
                    GroupedDigits(share.whole), "</span></p>\n");
    AppendStrip({{"selected", share.part}, {"bar", share.whole - share.part}},
                absl::StrCat("Share of ", share.what, " selected"), out);
  }
  absl::StrAppend(out, "<dl>\n");
  AppendFact("Selected from score", Number(domain.selected_above), out);
  AppendFact("Median score", Number(domain.median_score), out);
  AppendFact("Rank correlation with repetition",
             Number(domain.repetition_correlation), out);
  AppendFact("Mean loss, base", Number(domain.mean_loss_base), out);
  AppendFact("Mean loss, masked", Number(domain.mean_loss_masked), out);
  absl::StrAppend(out, "</dl></div>\n");
}

void AppendQuantiles(const ReportDomain& domain, std::string* out) {
  absl::StrAppend(out,
                  "<div class=\"card\"><h3>Quantiles of ranked documents</h3>\n"
                  "<div class=\"scroll\"><table>\n<tr><th>quantile</th>"
                  "<th>score</th><th>loss base</th><th>loss masked</th>"
                  "</tr>\n");
  for (const ReportQuantile& row : domain.quantiles) {
    absl::StrAppendFormat(out,
                          "<tr><td>%.4g %%</td><td>%s</td><td>%s</td>"
                          "<td>%s</td></tr>\n",
                          100 * row.quantile, Number(row.score),
                          Number(row.loss_base), Number(row.loss_masked));
  }
  absl::StrAppend(out, "</table></div></div>\n");
}

void AppendExamples(const std::vector<ReportExample>& examples,
                    absl::string_view heading, std::string* out) {
  if (examples.empty()) return;
  absl::StrAppend(out, "<h3>", heading, "</h3>\n<div class=\"examples\">\n");
  for (size_t i = 0; i < std::min(examples.size(), kMaxExamples); ++i) {
    const ReportExample& example = examples[i];
    absl::StrAppend(
        out, "<article class=\"example\"><header><code><bdi>",
        EscapeHtml(FirstCharacters(example.doc_id, kExampleCharacters)),
        "</bdi></code><b>score ", Number(example.score),
        "</b></header>\n<p class=\"note\">", GroupedDigits(example.num_tokens),
        " tokens, loss ", Number(example.loss_base), " base, ",
        Number(example.loss_masked),
        " masked</p>\n<p class=\"text\" "
        "dir=\"auto\">",
        EscapeHtml(FirstCharacters(example.text, kExampleCharacters)),
        "</p></article>\n");
  }
  absl::StrAppend(out, "</div>\n");
}

void AppendDomain(const ReportDomain& domain, size_t number, std::string* out) {
  absl::StrAppend(out, "<section class=\"domain\" id=\"domain-", number,
                  "\">\n<h2>", NameOf(domain), "</h2>\n<p class=\"lead\">",
                  GroupedDigits(domain.num_documents), " documents, ",
                  GroupedDigits(domain.num_tokens), " tokens, ",
                  GroupedDigits(domain.num_ranked), " documents ranked</p>\n");
  if (domain.num_ranked > 0) {
    absl::StrAppend(
        out, "<div class=\"pair\">\n<div class=\"card\">", "<h3>Scores</h3>\n",
        RenderHistogram(
            domain.scores,
            {.label = "score", .selected_from = domain.selected_above}),
        "</div>\n<div class=\"card losses\"><h3>Losses of the "
        "model as it is</h3>\n",
        RenderHistogram(domain.base_losses,
                        {.label = "loss base, nats for a token"}),
        "</div>\n");
    AppendQuantiles(domain, out);
    AppendShares(domain, out);
    absl::StrAppend(out, "</div>\n");
  }
  AppendExamples(domain.top, "Highest scores", out);
  AppendExamples(domain.middle, "Middle of the ranking", out);
  AppendExamples(domain.bottom, "Lowest scores", out);
  absl::StrAppend(out, "</section>\n");
}

}  // namespace

std::string RenderSelectionReport(const SelectionReport& report) {
  // The policy holds even if something of a stranger's got through.
  std::string out = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
      "'none'; style-src 'unsafe-inline'\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<meta "
      "name=\"color-scheme\" content=\"light dark\">\n<title>",
      EscapeHtml(report.title), "</title>\n<style>", kReportStyle,
      "</style>\n</head>\n<body>\n<main>\n");
  const Totals totals = Sum(report.domains);
  AppendSummary(report, totals, &out);
  AppendOutcomes(report, totals, &out);
  AppendDomainTable(report, &out);
  const size_t num_shown = std::min(report.domains.size(), kMaxShownDomains);
  for (size_t i = 0; i < num_shown; ++i) {
    AppendDomain(report.domains[i], i + 1, &out);
  }
  if (num_shown < report.domains.size()) {
    absl::StrAppend(&out, "<p class=\"note\">Pages of ",
                    report.domains.size() - num_shown,
                    " more domains are left out.</p>\n");
  }
  absl::StrAppend(&out, "</main>\n</body>\n</html>\n");
  return out;
}

}  // namespace headwise
