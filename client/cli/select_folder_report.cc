#include "client/cli/select_folder_report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/head_scores/head_scores.h"
#include "server/selection/document_reader.h"
#include "server/selection/flag_names.h"
#include "server/selection/row_file_reader.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

constexpr int64_t kHistogramBins = 40;
constexpr double kQuantiles[] = {0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1};
// Values of a domain that are kept for its pictures; beyond them every second,
// every fourth, ... is.
constexpr size_t kMaxSamples = size_t{1} << 20;
// Domains that are told apart; the others share a name.
constexpr size_t kMaxDomains = 4096;
constexpr char kOtherDomains[] = "(other domains)";

struct Sample {
  double score = 0;
  double loss_base = 0;
  double loss_masked = 0;
  double repetition = 0;
};

// An even share of the ranked rows of a domain.
class Samples {
 public:
  void Add(const ScoreRow& row) {
    if (num_seen_++ % stride_ != 0) return;
    values_.push_back(
        {row.score(), row.loss_base(), row.loss_masked(), row.loss.repetition});
    if (values_.size() < kMaxSamples) return;
    for (size_t i = 0; 2 * i < values_.size(); ++i) values_[i] = values_[2 * i];
    values_.resize(values_.size() / 2);
    stride_ *= 2;
  }

  std::vector<double> Values(double Sample::*field) const {
    std::vector<double> values;
    values.reserve(values_.size());
    for (const Sample& sample : values_) values.push_back(sample.*field);
    return values;
  }

 private:
  std::vector<Sample> values_;
  int64_t num_seen_ = 0;
  int64_t stride_ = 1;
};

struct Example {
  ReportExample shown;
  int64_t position = 0;  // rows before it in all files
};

struct DomainData {
  ReportDomain report;
  double nll_base = 0;
  double nll_masked = 0;
  int64_t num_loss_tokens = 0;
  Samples samples;
  std::vector<Example> top, middle, bottom;
};

// std::map keeps the order of display.
using Domains = std::map<std::string, DomainData>;

DomainData& DomainOf(const std::string& name, Domains& domains) {
  const bool is_known = domains.contains(name);
  const bool has_room = domains.size() < kMaxDomains;
  const std::string& shown = is_known || has_room ? name : kOtherDomains;
  DomainData& domain = domains[shown];
  domain.report.name = shown;
  return domain;
}

void AddRow(const ScoreRow& row, DomainData& domain) {
  ReportDomain& report = domain.report;
  ++report.num_documents;
  report.num_tokens += row.loss.num_tokens;
  if (row.is_scored()) {
    ++report.num_scored;
    domain.nll_base += row.loss.base;
    domain.nll_masked += row.loss.masked;
    domain.num_loss_tokens += row.loss.num_tokens;
  }
  if (!HasRank(row)) return;
  ++report.num_ranked;
  report.num_ranked_tokens += row.loss.num_tokens;
  domain.samples.Add(row);
}

DocumentOutcome OutcomeOf(DocumentFlag flag) {
  if ((flag & kNotScoredFlags) != 0) return DocumentOutcome::kNotScored;
  if ((flag & kNotRankedFlags) != 0) return DocumentOutcome::kNotRanked;
  return DocumentOutcome::kRanked;
}

// All that one look at each row tells.
absl::Status AddRows(const SelectionFolder& folder, Domains& domains,
                     std::vector<ReportFlag>& flags) {
  for (const DocumentFlag flag : AllDocumentFlags()) {
    ReportFlag& report = flags.emplace_back();
    report.name = std::string(FlagName(flag));
    report.outcome = OutcomeOf(flag);
  }
  for (const std::string& file : folder.files) {
    HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<RowFileReader> reader,
                              RowFileReader::Open(file));
    ScoreRow row;
    while (true) {
      HEADWISE_ASSIGN_OR_RETURN(const bool has_row, reader->Next(row));
      if (!has_row) break;
      AddRow(row, DomainOf(row.domain, domains));
      bool is_out = false;
      for (size_t i = 0; i < flags.size(); ++i) {
        if ((row.flags & AllDocumentFlags()[i]) == 0) continue;
        ++flags[i].num_documents;
        if (flags[i].outcome == DocumentOutcome::kRanked || is_out) continue;
        is_out = true;
        ++flags[i].num_first;
      }
    }
  }
  return absl::OkStatus();
}

// Of rows in rank order.
class RankTaker {
 public:
  RankTaker(const SelectRuleFlags& rule, int64_t num_examples, Domains& domains)
      : rule_(rule), num_examples_(num_examples), domains_(domains) {}

  void Take(const TopRow& top) {
    DomainData& domain = DomainOf(top.row.domain, domains_);
    if (top.rank == 1) {
      num_tokens_ = 0;
      is_full_ = false;
    }
    if (IsSelected(top)) {
      ++domain.report.num_selected;
      domain.report.num_selected_tokens += top.row.loss.num_tokens;
      domain.report.selected_above = top.row.score();
    }
    const int64_t middle = (top.num_ranked - num_examples_) / 2 + 1;
    if (top.rank <= num_examples_) {
      domain.top.push_back(ExampleOf(top));
    } else if (top.rank > top.num_ranked - num_examples_) {
      domain.bottom.push_back(ExampleOf(top));
    } else if (top.rank >= middle && top.rank < middle + num_examples_) {
      domain.middle.push_back(ExampleOf(top));
    }
  }

 private:
  // As TopRule has it.
  bool IsSelected(const TopRow& top) {
    const auto& domains = rule_.domains;
    if (!domains.empty() && std::find(domains.begin(), domains.end(),
                                      top.row.domain) == domains.end()) {
      return false;
    }
    if (rule_.fraction) {
      return top.rank <= RowsOfFraction(*rule_.fraction, top.num_ranked);
    }
    if (rule_.count) return top.rank <= *rule_.count;
    num_tokens_ += top.row.loss.num_tokens;
    is_full_ |= num_tokens_ > rule_.tokens.value_or(0);
    return !is_full_;
  }

  static Example ExampleOf(const TopRow& top) {
    Example example;
    example.position = top.position;
    example.shown.doc_id = top.row.doc_id;
    example.shown.score = top.row.score();
    example.shown.loss_base = top.row.loss_base();
    example.shown.loss_masked = top.row.loss_masked();
    example.shown.num_tokens = top.row.loss.num_tokens;
    return example;
  }

  const SelectRuleFlags& rule_;
  const int64_t num_examples_;
  Domains& domains_;
  int64_t num_tokens_ = 0;
  bool is_full_ = false;
};

// Texts of examples, shard by shard.
absl::Status AddTexts(const SelectionFolder& folder, const std::string& input,
                      Domains& domains) {
  std::map<int64_t, ReportExample*> wanted;  // by position
  for (auto& [name, domain] : domains) {
    for (auto* examples : {&domain.top, &domain.middle, &domain.bottom}) {
      for (Example& example : *examples) {
        wanted[example.position] = &example.shown;
      }
    }
  }
  InputOptions options = folder.manifest.input;
  options.root = input;
  int64_t position = 0;
  auto next = wanted.begin();
  for (size_t shard = 0; shard < folder.num_rows.size(); ++shard) {
    const int64_t end = position + folder.num_rows[shard];
    if (next == wanted.end()) break;
    if (next->first >= end) {
      position = end;
      continue;
    }
    HEADWISE_ASSIGN_OR_RETURN(
        const std::unique_ptr<DocumentReader> reader,
        DocumentReader::Open(options, folder.manifest.shards[shard]));
    for (; next != wanted.end() && next->first < end; ++position) {
      HEADWISE_ASSIGN_OR_RETURN(const std::optional<Document> document,
                                reader->Next());
      if (position < next->first && document.has_value()) continue;
      if (!document.has_value() || document->id != next->second->doc_id) {
        return absl::FailedPreconditionError(
            absl::StrCat(input, ": not the input of this job: its document ",
                         position, " is not ", next->second->doc_id));
      }
      next->second->text = document->text;
      ++next;
    }
    position = end;
  }
  return absl::OkStatus();
}

double QuantileOf(const std::vector<double>& sorted, double quantile) {
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<size_t>(std::lround(quantile * last))];
}

void FinishDomain(DomainData& domain) {
  ReportDomain& report = domain.report;
  if (domain.num_loss_tokens > 0) {
    const auto count = static_cast<double>(domain.num_loss_tokens);
    report.mean_loss_base = domain.nll_base / count;
    report.mean_loss_masked = domain.nll_masked / count;
  }
  std::vector<double> scores = domain.samples.Values(&Sample::score);
  std::vector<double> base = domain.samples.Values(&Sample::loss_base);
  std::vector<double> masked = domain.samples.Values(&Sample::loss_masked);
  report.scores = MakeHistogram(scores, kHistogramBins);
  report.base_losses = MakeHistogram(base, kHistogramBins);
  if (!scores.empty()) {
    report.repetition_correlation =
        RankCorrelation(scores, domain.samples.Values(&Sample::repetition));
    for (auto* values : {&scores, &base, &masked}) {
      std::sort(values->begin(), values->end());
    }
    report.median_score = QuantileOf(scores, 0.5);
    for (const double quantile : kQuantiles) {
      report.quantiles.push_back({quantile, QuantileOf(scores, quantile),
                                  QuantileOf(base, quantile),
                                  QuantileOf(masked, quantile)});
    }
  }
  for (const auto& [from, to] : {std::pair{&domain.top, &report.top},
                                 {&domain.middle, &report.middle},
                                 {&domain.bottom, &report.bottom}}) {
    for (Example& example : *from) to->push_back(std::move(example.shown));
  }
}

std::string RuleText(const SelectRuleFlags& rule) {
  if (rule.fraction) {
    return absl::StrFormat("best %g %% of each domain", 100 * *rule.fraction);
  }
  if (rule.count) {
    return absl::StrCat("best ", *rule.count, " documents of each domain");
  }
  return absl::StrCat("best documents of each domain, to ",
                      rule.tokens.value_or(0), " tokens");
}

void WriteFacts(const SelectionFolder& folder, SelectionReport* report) {
  const JobManifest& manifest = folder.manifest;
  const auto fact = [report](const char* name, const auto& value) {
    report->facts.emplace_back(name, absl::StrCat(value));
  };
  fact("job", folder.job_id);
  fact("result SHA-256", folder.result_sha256);
  fact("model SHA-256", manifest.model_sha256);
  fact("masked plan SHA-256", manifest.masked_plan_sha256);
  fact("mask", manifest.mask);
  fact("keys and values", manifest.kv_type);
  fact("window, tokens", manifest.scoring.window);
  if (manifest.scoring.max_tokens > 0) {
    fact("tokens of a document, at most", manifest.scoring.max_tokens);
  }
  fact("tokens skipped of a window", manifest.scoring.skip_tokens);
  fact("ranked: tokens, at least", manifest.ranking.min_tokens);
  fact("ranked: nats a token, at least", manifest.ranking.min_loss);
  fact("ranked: repetition, at most", manifest.ranking.max_repetition);
  fact("input", manifest.input.root);
  fact("shards", manifest.shards.size());
}

}  // namespace

absl::StatusOr<SelectionReport> MakeSelectionReport(
    const SelectionFolder& folder, const SelectionReportOptions& options) {
  SelectionReport report;
  report.title = options.title;
  report.model =
      options.model.empty() ? folder.manifest.model_sha256 : options.model;
  report.rule = RuleText(options.rule);
  report.masked_heads = folder.manifest.masked_heads;
  WriteFacts(folder, &report);
  Domains domains;
  HEADWISE_RETURN_IF_ERROR(AddRows(folder, domains, report.flags));
  TopOptions all;
  all.rule.fraction = 1.0;
  all.temp_dir = options.temp_dir;
  RankTaker taker(options.rule, options.num_examples, domains);
  HEADWISE_RETURN_IF_ERROR(
      FindTopRows(folder.files, all, [&](const TopRow& row) {
        taker.Take(row);
        return absl::OkStatus();
      }).status());
  if (!options.input.empty()) {
    HEADWISE_RETURN_IF_ERROR(AddTexts(folder, options.input, domains));
  }
  for (auto& [name, domain] : domains) {
    FinishDomain(domain);
    report.domains.push_back(std::move(domain.report));
  }
  return report;
}

}  // namespace headwise
