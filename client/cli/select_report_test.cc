#include "client/cli/select_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kAttack[] = "</p><script>alert(\"1\" & '2')</script>";
constexpr char kAttackEscaped[] =
    "&lt;/p&gt;&lt;script&gt;alert(&quot;1&quot; &amp; "
    "&#39;2&#39;)&lt;/script&gt;";

// 10 documents: 6 ranked, 2 of them selected, 3 scored only, 1 not scored.
ReportDomain SmallDomain() {
  ReportDomain domain;
  domain.name = "web";
  domain.num_documents = 10;
  domain.num_tokens = 9'000;
  domain.num_scored = 9;
  domain.num_ranked = 6;
  domain.num_ranked_tokens = 8'000;
  domain.num_selected = 2;
  domain.num_selected_tokens = 5'000;
  domain.mean_loss_base = 2.5;
  domain.mean_loss_masked = 2.75;
  domain.median_score = 0.125;
  domain.selected_above = 0.5;
  domain.scores = {.low = 0, .width = 0.25, .counts = {3, 1, 2}};
  domain.base_losses = {.low = 2, .width = 0.5, .counts = {4, 2}};
  domain.quantiles = {{0.5, 0.125, 2.5, 2.75}, {1, 0.7, 3, 3.5}};
  domain.top = {{"doc-1", 0.7, 2, 3.4, 900, "The text."}};
  return domain;
}

SelectionReport SmallReport() {
  SelectionReport report;
  report.title = "Selection of a test";
  report.model = "SmolLM2";
  report.rule = "best 2 of each domain";
  report.masked_heads = {"18.6", "20.1"};
  report.facts = {{"Window", "2,048 tokens"}, {"Not told", ""}};
  report.flags = {{"empty_text", DocumentOutcome::kNotScored, 1, 1},
                  {"too_short", DocumentOutcome::kNotRanked, 3, 2},
                  {"low_loss", DocumentOutcome::kNotRanked, 1, 1},
                  {"truncated", DocumentOutcome::kRanked, 4, 0},
                  {"too_large", DocumentOutcome::kNotScored, 0, 0}};
  report.domains = {SmallDomain()};
  return report;
}

// The cells of the table row that begins with `name`.
std::vector<std::string> RowOf(const std::string& page,
                               const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    if (line.find(absl::StrCat(name, "<")) == line.npos ||
        line.find("<tr") != 0) {
      continue;
    }
    std::vector<std::string> cells = absl::StrSplit(line, "</td><td>");
    for (std::string& cell : cells) {
      cell = cell.substr(0, cell.find("</td>"));
    }
    return {cells.begin() + 1, cells.end()};
  }
  return {};
}

TEST(SelectReportTest, EveryTextIsEscaped) {
  SelectionReport report = SmallReport();
  report.title = kAttack;
  report.model = kAttack;
  report.rule = kAttack;
  report.masked_heads = {kAttack};
  report.facts = {{kAttack, kAttack}};
  report.flags[0].name = kAttack;
  ReportDomain& domain = report.domains[0];
  domain.name = kAttack;
  domain.top[0].doc_id = kAttack;
  domain.top[0].text = kAttack;
  domain.middle = domain.bottom = domain.top;

  const std::string page = RenderSelectionReport(report);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("alert(\"")));
  // Title twice, model, rule, head, fact, flag, domain twice, six of examples.
  const std::vector<std::string> pieces = absl::StrSplit(page, kAttackEscaped);
  EXPECT_EQ(pieces.size() - 1, 2 + 1 + 1 + 1 + 2 + 1 + 2 + 6);
}

TEST(SelectReportTest, ThePageNeedsNothingBesideItself) {
  const std::string page = RenderSelectionReport(SmallReport());
  for (const char* outside :
       {"http://", "https://", "src=", "@import", "url(", "<link", "<script"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_EQ(page.rfind("<!DOCTYPE html>\n", 0), 0);
  EXPECT_EQ(page.substr(page.size() - 8), "</html>\n");
}

TEST(SelectReportTest, OutcomesAddUp) {
  const std::string page = RenderSelectionReport(SmallReport());
  using Cells = std::vector<std::string>;
  EXPECT_EQ(RowOf(page, "Ranked and selected"), Cells({"", "2"}));
  EXPECT_EQ(RowOf(page, "Ranked, not selected"), Cells({"", "4"}));
  EXPECT_THAT(page, HasSubstr("keep no document out: <code>truncated</code> "
                              "4.</p>"));
  EXPECT_EQ(RowOf(page, "Scored, out of the ranking"), Cells({"", "3"}));
  EXPECT_EQ(RowOf(page, "too_short"), Cells({"3", "2"}));
  EXPECT_EQ(RowOf(page, "low_loss"), Cells({"1", "1"}));
  EXPECT_EQ(RowOf(page, "Not scored"), Cells({"", "1"}));
  EXPECT_EQ(RowOf(page, "empty_text"), Cells({"1", "1"}));
  EXPECT_EQ(RowOf(page, "All documents"), Cells({"", "10"}));
  EXPECT_THAT(page, Not(HasSubstr("too_large")));
  EXPECT_THAT(page, Not(HasSubstr("class=\"warning\"")));
}

TEST(SelectReportTest, FlagsThatDoNotAddUpAreTold) {
  SelectionReport report = SmallReport();
  report.flags[1].num_first = 1;
  EXPECT_THAT(RenderSelectionReport(report),
              HasSubstr("The flags account for 2 documents out of the ranking "
                        "and 1 not scored"));
}

TEST(SelectReportTest, ADomainHasItsFiguresPicturesAndExamples) {
  const std::string page = RenderSelectionReport(SmallReport());
  EXPECT_EQ(RowOf(page, "web"),
            std::vector<std::string>(
                {"10", "9,000", "6", "2", "2.500", "2.750", "0.125"}));
  EXPECT_THAT(page, HasSubstr("Histogram of score, 6 documents"));
  EXPECT_THAT(page, HasSubstr("Histogram of loss base, nats for a token, 6 "
                              "documents"));
  EXPECT_THAT(page, HasSubstr("<b>33.3 %</b> of ranked documents"));
  EXPECT_THAT(page, HasSubstr("<b>62.5 %</b> of ranked tokens"));
  EXPECT_THAT(page, HasSubstr("<tr><td>50 %</td><td>0.125</td><td>2.500</td>"
                              "<td>2.750</td></tr>"));
  EXPECT_THAT(page, HasSubstr("900 tokens, loss 2.000 base, 3.400 masked"));
  EXPECT_THAT(page, HasSubstr("dir=\"auto\">The text.</p>"));
  EXPECT_THAT(page, Not(HasSubstr("Lowest scores")));
}

TEST(SelectReportTest, ExamplesShowThreeHundredCharacters) {
  SelectionReport report = SmallReport();
  std::string text;
  for (int i = 0; i < 300; ++i) text += "\u4e2d";
  report.domains[0].top[0].text = text + "tail";
  const std::string page = RenderSelectionReport(report);
  EXPECT_THAT(page, HasSubstr(text + "\u2026</p>"));
}

TEST(SelectReportTest, NothingScoredIsAPageToo) {
  SelectionReport report;
  report.domains.resize(1);
  report.domains[0].num_documents = 1;
  report.flags = {{"empty_text", DocumentOutcome::kNotScored, 1, 1}};
  const std::string page = RenderSelectionReport(report);
  EXPECT_EQ(RowOf(page, "(no domain)"),
            std::vector<std::string>(
                {"1", "0", "0", "0", "\u2013", "\u2013", "\u2013"}));
  EXPECT_THAT(page, Not(HasSubstr("Quantiles")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(SelectReportTest, ManyDomainsAndHeadsAreCounted) {
  SelectionReport report = SmallReport();
  report.masked_heads.assign(100, "1.1");
  report.domains.assign(600, SmallDomain());
  const std::string page = RenderSelectionReport(report);
  EXPECT_THAT(page, HasSubstr("and 4 more"));
  EXPECT_THAT(page, HasSubstr("And 100 more."));
  EXPECT_THAT(page, HasSubstr("Pages of 560 more domains are left out."));
  EXPECT_THAT(page, HasSubstr("id=\"domain-40\""));
  EXPECT_THAT(page, Not(HasSubstr("domain-41\"")));
}

}  // namespace
}  // namespace headwise
