#include "client/cli/select_output.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "client/cli/html_text.h"
#include "client/cli/progress_bar.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

// Domains that a line of progress names.
constexpr size_t kShownCosts = 3;
constexpr size_t kMaxNameColumns = 32;

std::string TimeText(double seconds) {
  // Of a job that is stuck the time that is left may be anything.
  if (!(seconds < 1e9)) return "?";
  return absl::FormatDuration(absl::Seconds(static_cast<int64_t>(seconds)));
}

std::string NameOf(const std::string& domain) {
  if (domain.empty()) return "(none)";
  if (domain.size() <= kMaxNameColumns) return domain;
  return FirstCharacters(domain, kMaxNameColumns - 1);
}

std::string CostText(const v1::SelectionJob& job) {
  double sum = 0;
  std::vector<const v1::DomainProgress*> domains;
  for (const v1::DomainProgress& domain : job.domains()) {
    sum += domain.cost_seconds();
    if (domain.cost_seconds() > 0) domains.push_back(&domain);
  }
  if (domains.empty()) return "";
  std::stable_sort(domains.begin(), domains.end(),
                   [](const auto* a, const auto* b) {
                     return a->cost_seconds() > b->cost_seconds();
                   });
  std::string text = "  cost";
  for (size_t i = 0; i < std::min(domains.size(), kShownCosts); ++i) {
    absl::StrAppendFormat(&text, "%s %s %.0f %%", i == 0 ? "" : ",",
                          NameOf(domains[i]->domain()),
                          100 * domains[i]->cost_seconds() / sum);
  }
  if (domains.size() > kShownCosts) text += ", ...";
  return text;
}

double FractionOf(const v1::SelectionJob& job) {
  if (job.bytes_total() == 0) return 0;
  return static_cast<double>(job.bytes_done()) /
         static_cast<double>(job.bytes_total());
}

}  // namespace

std::string StateName(v1::SelectionJobState state) {
  return std::string(absl::StripPrefix(v1::SelectionJobState_Name(state),
                                       "SELECTION_JOB_STATE_"));
}

Json SelectionRowToJson(const v1::SelectionRow& row) {
  const auto number = [](bool has, double value) {
    return has ? Json(value) : Json();
  };
  return {{"doc_id", row.doc_id()},
          {"domain", row.domain()},
          {"n_tokens", row.n_tokens()},
          {"loss_base", number(row.has_loss_base(), row.loss_base())},
          {"loss_masked", number(row.has_loss_masked(), row.loss_masked())},
          {"score", number(row.has_score(), row.score())},
          {"flags",
           std::vector<std::string>(row.flags().begin(), row.flags().end())},
          {"nll_base", number(row.has_nll_base(), row.nll_base())},
          {"nll_masked", number(row.has_nll_masked(), row.nll_masked())},
          {"repetition", number(row.has_repetition(), row.repetition())}};
}

Json SelectionJobToJson(const v1::SelectionJob& job) {
  Json domains = Json::array();
  for (const v1::DomainProgress& domain : job.domains()) {
    domains.push_back({{"domain", domain.domain()},
                       {"documents", domain.documents()},
                       {"scored", domain.scored()},
                       {"ranked", domain.ranked()},
                       {"tokens", domain.tokens()},
                       {"cost_seconds", domain.cost_seconds()}});
  }
  Json flags = Json::object();
  for (const v1::FlagCount& flag : job.flags()) {
    flags[flag.flag()] = flag.documents();
  }
  return {
      {"job_id", job.job_id()},
      {"state", StateName(job.state())},
      {"reason", job.reason()},
      {"note", job.note()},
      {"output", job.output()},
      {"masked_plan_sha256", job.masked_plan_sha256()},
      {"masked_heads", std::vector<std::string>(job.masked_heads().begin(),
                                                job.masked_heads().end())},
      {"shards_done", job.shards_done()},
      {"shards_total", job.shards_total()},
      {"bytes_done", job.bytes_done()},
      {"bytes_total", job.bytes_total()},
      {"documents", job.documents()},
      {"scored", job.scored()},
      {"ranked", job.ranked()},
      {"tokens", job.tokens()},
      {"domains", domains},
      {"flags", flags},
      {"running_seconds", job.running_seconds()},
      {"tokens_per_second", job.tokens_per_second()},
      {"remaining_seconds",
       job.has_remaining_seconds() ? Json(job.remaining_seconds()) : Json()},
      {"result_sha256", job.result_sha256()}};
}

std::string RenderSelectionJob(const v1::SelectionJob& job) {
  std::string text =
      absl::StrFormat("job %s\n%s", job.job_id(), StateName(job.state()));
  for (const std::string& why : {job.reason(), job.note()}) {
    if (!why.empty()) absl::StrAppend(&text, ": ", why);
  }
  absl::StrAppendFormat(
      &text,
      "\n%s of %s shards, %s documents, %s tokens in %s; %d heads masked\n",
      GroupedDigits(job.shards_done()), GroupedDigits(job.shards_total()),
      GroupedDigits(job.documents()), GroupedDigits(job.tokens()),
      TimeText(job.running_seconds()), job.masked_heads_size());
  absl::StrAppend(&text, "files in ", job.output(), "\n");
  if (!job.result_sha256().empty()) {
    absl::StrAppend(&text, "result ", job.result_sha256(), "\n");
  }
  if (!job.domains().empty()) {
    absl::StrAppendFormat(&text, "\n%-32s %12s %12s %12s %14s %10s\n", "domain",
                          "documents", "scored", "ranked", "tokens", "cost");
  }
  for (const v1::DomainProgress& domain : job.domains()) {
    absl::StrAppendFormat(
        &text, "%-32s %12s %12s %12s %14s %10s\n", NameOf(domain.domain()),
        GroupedDigits(domain.documents()), GroupedDigits(domain.scored()),
        GroupedDigits(domain.ranked()), GroupedDigits(domain.tokens()),
        TimeText(domain.cost_seconds()));
  }
  if (!job.flags().empty()) text += "\n";
  for (const v1::FlagCount& flag : job.flags()) {
    absl::StrAppendFormat(&text, "%-32s %12s\n", flag.flag(),
                          GroupedDigits(flag.documents()));
  }
  return text;
}

std::string RenderSelectionProgress(const v1::SelectionJob& job) {
  std::string text = absl::StrFormat(
      "%s  %s documents  %s tokens/s", RenderProgress("", FractionOf(job)),
      GroupedDigits(job.documents()),
      GroupedDigits(static_cast<int64_t>(job.tokens_per_second())));
  if (job.has_remaining_seconds()) {
    absl::StrAppend(&text, "  left ", TimeText(job.remaining_seconds()));
  }
  if (job.state() == v1::SELECTION_JOB_STATE_FINISHING) {
    text += "  looking for duplicate ids";
  }
  if (!job.note().empty()) absl::StrAppend(&text, "  ", job.note());
  return text + CostText(job);
}

}  // namespace headwise
