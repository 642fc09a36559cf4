// Prints the page of a selection that never was: drawn numbers, four domains.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/select_report.h"

namespace headwise {
namespace {

struct DomainKind {
  const char* name;
  int64_t num_ranked;
  double median_loss;
  double median_score;
  double spread;                   // of the logarithm of both
  std::vector<std::string> texts;  // two at the top, middle, bottom
};

const std::vector<DomainKind>& DomainKinds() {
  static const auto* const kinds = new std::vector<DomainKind>{
      {"web",
       41'250,
       2.9,
       0.06,
       0.75,
       {"Table 3 lists the stations again. Station K-117 reported 14.2 at "
        "noon, station K-204 reported 9.8, and, as the first column says, "
        "K-117 lies 40 metres above K-204. To compare the two, take the "
        "figure of K-117 from the first row, subtract four tenths for the "
        "height, and set it against the figure of K-204 from the second.",
        "Who wrote the letter? It speaks of the lamp on the quay, and only "
        "three people had seen that lamp: Berit, who was ill in May; Aron, "
        "who can't spell the word; and the pilot. The letter is from May.",
        "We moved to the coast in spring. The house had a green door and "
        "stood at the end of a lane; the neighbours came by with bread.",
        "The museum opens at ten, except on Mondays. Dogs must stay outside.",
        "Buy now! Best offers, best prices, best service. Click here, call "
        "today, don't wait.",
        "Home | About | Contact | Home | About | Contact | Terms"}},
      {"code",
       12'800,
       1.4,
       0.21,
       0.6,
       {"def merge(left, right):\n    \"\"\"Joins two sorted lists.\"\"\"\n"
        "    merged = []\n    while left and right:\n"
        "        source = left if left[0] <= right[0] else right\n"
        "        merged.append(source.pop(0))\n"
        "    return merged + left + right\n\n"
        "assert merge([1, 4], [2, 3]) == [1, 2, 3, 4]",
        "struct Node { Node* next; };\n\nint Length(const Node* node) {\n"
        "  return node == nullptr ? 0 : 1 + Length(node->next);\n}",
        "for (int i = 0; i < n && a[i] != \"<end>\"; ++i) {\n  total += "
        "weights[i];\n}",
        "SELECT city, count(*) FROM visits GROUP BY city HAVING count(*) > 9;",
        "/* eslint-disable */\n!function(e,t){\"use strict\"}(window);",
        "#pragma once\n#pragma once\n#pragma once"}},
      {"math",
       6'900,
       1.9,
       0.31,
       0.5,
       {"Let f(x) = x^2 - 5x + 6. Its roots are 2 and 3, for their sum is 5 "
        "and their product is 6. Let g(x) = f(x) + 1. Because the "
        "discriminant of g is 25 - 28 < 0, g has no real root; so the graph "
        "of f, lifted by 1, no longer meets the axis between 2 and 3.",
        "Of 7 numbers two differ by a multiple of 6: there are 6 remainders.",
        "A prime that divides a product divides one of its factors.",
        "The sum of the first n odd numbers is n^2.",
        "Exercise 14. Exercise 15. Exercise 16. Exercise 17.",
        "Answers on page 212. Answers on page 213."}},
      {"b\u00fccher",
       3'150,
       3.3,
       0.09,
       0.9,
       {"Die Alte, von der im ersten Kapitel die Rede war, trat nun wieder "
        "ein, und jeder erkannte den Ring, den sie damals verloren hatte.",
        "\u00bbDen Schl\u00fcssel\u00ab, sagte er, \u00bbhat, wer gestern den "
        "Brief brachte.\u00ab",
        "Gegen Abend zog ein Wetter auf, und die Boote kehrten heim.",
        "Das Dorf lag hinter dem Damm.",
        "\u2014 1 \u2014\n\n\u2014 2 \u2014\n\n\u2014 3 \u2014",
        "Ende des ersten Bandes."}}};
  return *kinds;
}

struct Drawn {
  double score;
  double loss_base;
  int64_t num_tokens;

  double loss_masked() const { return loss_base * (1 + score); }
};

// Greatest score first.
std::vector<Drawn> Draw(const DomainKind& kind, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  std::vector<Drawn> rows(static_cast<size_t>(kind.num_ranked));
  for (Drawn& row : rows) {
    row.score =
        kind.median_score * std::exp(kind.spread * normal(*random)) - 0.02;
    row.loss_base = kind.median_loss * std::exp(0.3 * normal(*random));
    row.num_tokens =
        64 + static_cast<int64_t>(500 * std::exp(0.9 * normal(*random)));
  }
  std::sort(rows.begin(), rows.end(),
            [](const Drawn& a, const Drawn& b) { return a.score > b.score; });
  return rows;
}

std::vector<ReportExample> Examples(const DomainKind& kind,
                                    const std::vector<Drawn>& rows,
                                    size_t first, size_t text) {
  std::vector<ReportExample> examples;
  for (size_t i = first; i < first + 2; ++i) {
    examples.push_back({.doc_id = absl::StrCat(kind.name, "/part-", 3 + i % 7,
                                               ".jsonl:", 7919 * (i + 1)),
                        .score = rows[i].score,
                        .loss_base = rows[i].loss_base,
                        .loss_masked = rows[i].loss_masked(),
                        .num_tokens = rows[i].num_tokens,
                        .text = kind.texts[text++]});
  }
  return examples;
}

void FillQuantiles(const std::vector<Drawn>& rows, ReportDomain* domain) {
  std::vector<double> scores, base, masked;
  for (const Drawn& row : rows) {
    scores.push_back(row.score);
    base.push_back(row.loss_base);
    masked.push_back(row.loss_masked());
  }
  domain->scores = MakeHistogram(scores, 60);
  domain->base_losses = MakeHistogram(base, 60);
  for (std::vector<double>* values : {&scores, &base, &masked}) {
    std::sort(values->begin(), values->end());
  }
  for (const double q : {0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0}) {
    const auto i = static_cast<size_t>(
        std::llround(q * static_cast<double>(rows.size() - 1)));
    domain->quantiles.push_back({q, scores[i], base[i], masked[i]});
  }
  domain->median_score = domain->quantiles[4].score;
}

ReportDomain MakeDomain(const DomainKind& kind, std::mt19937_64* random) {
  const std::vector<Drawn> rows = Draw(kind, random);
  ReportDomain domain;
  domain.name = kind.name;
  domain.num_ranked = kind.num_ranked;
  domain.num_scored = kind.num_ranked + kind.num_ranked / 25;
  domain.num_documents = domain.num_scored + kind.num_ranked / 50;
  domain.num_selected = (kind.num_ranked + 4) / 5;
  double base = 0, masked = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto tokens = static_cast<double>(rows[i].num_tokens);
    base += tokens * rows[i].loss_base;
    masked += tokens * rows[i].loss_masked();
    domain.num_ranked_tokens += rows[i].num_tokens;
    if (static_cast<int64_t>(i) < domain.num_selected) {
      domain.num_selected_tokens += rows[i].num_tokens;
      domain.selected_above = rows[i].score;
    }
  }
  const auto num_tokens = static_cast<double>(domain.num_ranked_tokens);
  domain.num_tokens = domain.num_ranked_tokens + 30 * (kind.num_ranked / 25);
  domain.mean_loss_base = base / num_tokens;
  domain.mean_loss_masked = masked / num_tokens;
  FillQuantiles(rows, &domain);
  domain.top = Examples(kind, rows, 0, 0);
  domain.middle = Examples(kind, rows, rows.size() / 2, 2);
  domain.bottom = Examples(kind, rows, rows.size() - 2, 4);
  return domain;
}

SelectionReport MakeReport() {
  SelectionReport report;
  report.title = "Selection of a drawn corpus";
  report.model = "SmolLM2-135M-Instruct, Q4_1";
  report.rule = "the best 20 % of the ranked documents of each domain";
  report.masked_heads = {"4.2",  "7.8",  "9.0",  "11.5", "13.3", "14.7",
                         "16.1", "18.6", "18.7", "20.1", "22.4", "25.8"};
  report.facts = {
      {"Mask", "uniform"},
      {"Window", "2,048 tokens; longer texts in several"},
      {"Ranked from", "64 tokens and a loss of 0.2"},
      {"Job",
       "5c0e7a41d93b86f2a1c47e90b35d28f6e4a90b7c1d5238fe6607ab94c3d1208e"},
      {"Result",
       "e81f4d6a0c2b97538ed140b6f3a87c251d90e4fb63a8c7752f0193dab46c85e7"}};
  std::mt19937_64 random(20261126);
  int64_t num_not_ranked = 0;
  int64_t num_not_scored = 0;
  for (const DomainKind& kind : DomainKinds()) {
    report.domains.push_back(MakeDomain(kind, &random));
    const ReportDomain& domain = report.domains.back();
    num_not_ranked += domain.num_scored - domain.num_ranked;
    num_not_scored += domain.num_documents - domain.num_scored;
  }
  const int64_t num_short = num_not_ranked * 3 / 4;
  const int64_t num_empty = num_not_scored / 3;
  report.flags = {
      {"empty_text", DocumentOutcome::kNotScored, num_empty, num_empty},
      {"invalid_utf8", DocumentOutcome::kNotScored, num_not_scored - num_empty,
       num_not_scored - num_empty},
      {"duplicate_id", DocumentOutcome::kNotRanked, num_not_ranked - num_short,
       num_not_ranked - num_short},
      {"too_short", DocumentOutcome::kNotRanked, num_short + 17, num_short},
      {"truncated", DocumentOutcome::kRanked, 212, 0}};
  return report;
}

}  // namespace
}  // namespace headwise

int main() {
  std::cout << headwise::RenderSelectionReport(headwise::MakeReport());
  return std::cout.flush() ? 0 : 1;
}
