#include "server/frontends/selection_parser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/build_info.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_hash.h"
#include "server/frontends/masked_plan.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"
#include "server/selection/engine_document_scorer.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

constexpr double kMinWatchSeconds = 0.05;
constexpr double kMaxWatchSeconds = 60.0;

template <typename T>
absl::Status CheckRange(absl::string_view field, T value, T min, T max) {
  // Written so that NaN fails.
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("is ", value, "; must be from ", min, " to ", max));
}

absl::Status CheckBytes(absl::string_view field, const std::string& text,
                        size_t max) {
  if (text.size() <= max) return absl::OkStatus();
  return InvalidField(field,
                      absl::StrCat("has ", text.size(), " bytes; at most ", max,
                                   " are allowed"));
}

absl::Status CheckCount(absl::string_view field, int count, int max) {
  if (count <= max) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("has ", count, " entries; at most ",
                                          max, " are allowed"));
}

// `field`: of the message around it.
absl::StatusOr<ScoringOptions> ParseScoring(const v1::SelectionScoring& message,
                                            absl::string_view field,
                                            const FrontendContext& frontend) {
  ScoringOptions options;
  options.window = message.window();
  options.max_tokens = message.max_tokens();
  if (message.skip_tokens() != 0) options.skip_tokens = message.skip_tokens();
  absl::StatusOr<ScoringOptions> resolved = ResolveScoring(
      options, frontend.model.model->hyperparameters().max_context_len);
  if (resolved.ok()) return resolved;
  return NameField(field, resolved.status());
}

absl::StatusOr<RankingRules> ParseRanking(const v1::SelectionRanking& message,
                                          absl::string_view field) {
  RankingRules rules;
  if (message.has_min_tokens()) rules.min_tokens = message.min_tokens();
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>(
      absl::StrCat(field, ".min_tokens"), rules.min_tokens, 0, INT64_MAX));
  if (message.has_min_loss()) rules.min_loss = message.min_loss();
  HEADWISE_RETURN_IF_ERROR(CheckRange<double>(absl::StrCat(field, ".min_loss"),
                                              rules.min_loss, 0.0, 1e6));
  if (message.has_max_repetition()) {
    rules.max_repetition = message.max_repetition();
  }
  HEADWISE_RETURN_IF_ERROR(CheckRange<double>(
      absl::StrCat(field, ".max_repetition"), rules.max_repetition, 0.0, 1.0));
  HEADWISE_RETURN_IF_ERROR(CheckCount(absl::StrCat(field, ".domains"),
                                      message.domains_size(), kMaxJobDomains));
  for (int i = 0; i < message.domains_size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(
        CheckBytes(absl::StrCat(field, ".domains[", i, "]"), message.domains(i),
                   kMaxDomainBytes));
  }
  rules.domains.assign(message.domains().begin(), message.domains().end());
  return rules;
}

void SetUnlessEmpty(const std::string& field, std::string* option) {
  if (!field.empty()) *option = field;
}

absl::StatusOr<InputOptions> ParseInput(const v1::SelectionInput& message) {
  InputOptions options;
  if (message.root().empty()) {
    return InvalidField("spec.input.root",
                        "is empty: must be the name of an --input-root");
  }
  options.root = message.root();
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("spec.input.paths", message.paths_size(), kMaxInputPaths));
  options.paths.assign(message.paths().begin(), message.paths().end());
  SetUnlessEmpty(message.id_field(), &options.id_field);
  SetUnlessEmpty(message.text_field(), &options.text_field);
  SetUnlessEmpty(message.domain_field(), &options.domain_field);
  HEADWISE_RETURN_IF_ERROR(
      CheckBytes("spec.input.domain", message.domain(), kMaxDomainBytes));
  options.domain = message.domain();
  if (message.shard_bytes() != 0) options.shard_bytes = message.shard_bytes();
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>(
      "spec.input.shard_bytes", options.shard_bytes, 4 << 10, 1 << 30));
  if (message.max_document_bytes() != 0) {
    options.max_document_bytes = message.max_document_bytes();
  }
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>(
      "spec.input.max_document_bytes", options.max_document_bytes, 1, 1 << 30));
  return options;
}

}  // namespace

absl::Status NameField(absl::string_view outer, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  const absl::string_view message = status.message();
  const size_t end = message.find(": ");
  const size_t space = message.find(' ');
  if (end == absl::string_view::npos || space < end) return status;
  const absl::string_view field = message.substr(0, end);
  return InvalidField(
      outer.empty() ? std::string(field) : absl::StrCat(outer, ".", field),
      message.substr(end + 2));
}

absl::Status NameSpecField(const absl::Status& status) {
  static constexpr std::pair<absl::string_view, absl::string_view> kFields[] = {
      {"output", "spec.output"},
      {"root", "spec.input.root"},
      {"path", "spec.input.paths"},
      {"domain", "spec.input.domain"},
      {"id_field", "spec.input.id_field"},
      {"text_field", "spec.input.text_field"},
      {"domain_field", "spec.input.domain_field"},
      {"shard_bytes", "spec.input.shard_bytes"},
      {"max_document_bytes", "spec.input.max_document_bytes"}};
  if (!absl::IsInvalidArgument(status)) return status;
  const absl::string_view message = status.message();
  const size_t end = message.find_first_of(": ");
  for (const auto& [word, field] : kFields) {
    if (message.substr(0, end) != word) continue;
    return InvalidField(
        field, absl::StripLeadingAsciiWhitespace(
                   absl::StripPrefix(message.substr(word.size()), ":")));
  }
  return NameField("spec", status);
}

absl::StatusOr<DocumentCall> ParseDocumentTerms(
    const v1::ScoreDocumentsTerms& message, const FrontendContext& frontend,
    const std::string& model_sha256) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(message.model(), frontend.model));
  DocumentCall call;
  HEADWISE_ASSIGN_OR_RETURN(
      call.plan, ReadMaskedPlan("terms.masked_plan", message.masked_plan(),
                                frontend, model_sha256));
  HEADWISE_ASSIGN_OR_RETURN(call.scoring,
                            ParseScoring(message.scoring(), "terms", frontend));
  HEADWISE_ASSIGN_OR_RETURN(call.rules,
                            ParseRanking(message.ranking(), "terms.ranking"));
  if (message.max_document_bytes() != 0) {
    call.max_document_bytes = message.max_document_bytes();
  }
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>("terms.max_document_bytes",
                                               call.max_document_bytes, 1,
                                               kMaxStreamedDocumentBytes));
  return call;
}

absl::Status CheckDocumentCount(int num_documents) {
  return CheckCount("documents", num_documents, kMaxDocumentsOfMessage);
}

absl::StatusOr<Document> TakeDocument(int index, int64_t number,
                                      const DocumentCall& call,
                                      v1::SelectionDocument* message) {
  const std::string field = absl::StrCat("documents[", index, "]");
  HEADWISE_RETURN_IF_ERROR(CheckBytes(absl::StrCat(field, ".id"), message->id(),
                                      kMaxDocumentIdBytes));
  HEADWISE_RETURN_IF_ERROR(CheckBytes(absl::StrCat(field, ".domain"),
                                      message->domain(), kMaxDomainBytes));
  Document document;
  document.id = std::move(*message->mutable_id());
  if (document.id.empty()) {
    document.id = absl::StrCat("document:", number);
    document.flags |= kMadeUpId;
  }
  document.domain = std::move(*message->mutable_domain());
  document.text = std::move(*message->mutable_text());
  if (static_cast<int64_t>(document.text.size()) > call.max_document_bytes) {
    document.flags |= kTooLarge;
  } else if (!IsValidUtf8(document.text)) {
    document.flags |= kInvalidUtf8;
  }
  return document;
}

absl::StatusOr<JobSpec> ParseJobSpec(const v1::SelectionJobSpec& message,
                                     const FrontendContext& frontend,
                                     const std::string& model_sha256) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(message.model(), frontend.model));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const HeadPlan> plan,
      ReadMaskedPlan("spec.masked_plan", message.masked_plan(), frontend,
                     model_sha256));
  HEADWISE_ASSIGN_OR_RETURN(MaskedHeads masked, MaskedHeadsOf(*plan));
  JobSpec spec;
  JobManifest& manifest = spec.manifest;
  manifest.model_sha256 = model_sha256;
  manifest.masked_plan_sha256 = HeadPlanHash(*plan);
  manifest.masked_heads = std::move(masked.heads);
  manifest.mask = std::move(masked.mask);
  manifest.kv_type = frontend.model.kv_type;
  manifest.numerics = OwnBuild().numerics;
  HEADWISE_ASSIGN_OR_RETURN(manifest.scoring,
                            ParseScoring(message.scoring(), "spec", frontend));
  HEADWISE_ASSIGN_OR_RETURN(manifest.ranking,
                            ParseRanking(message.ranking(), "spec.ranking"));
  HEADWISE_ASSIGN_OR_RETURN(manifest.input, ParseInput(message.input()));
  spec.output = message.output();
  return spec;
}

absl::StatusOr<TopOptions> ParseTopK(const v1::TopKRequest& request) {
  TopOptions options;
  switch (request.rule_case()) {
    case v1::TopKRequest::kFraction:
      HEADWISE_RETURN_IF_ERROR(
          CheckRange<double>("fraction", request.fraction(), 0.0, 1.0));
      options.rule.fraction = request.fraction();
      break;
    case v1::TopKRequest::kCount:
      HEADWISE_RETURN_IF_ERROR(
          CheckRange<int64_t>("count", request.count(), 0, INT64_MAX));
      options.rule.count = request.count();
      break;
    case v1::TopKRequest::kTokenBudget:
      HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>(
          "token_budget", request.token_budget(), 0, INT64_MAX));
      options.rule.token_budget = request.token_budget();
      break;
    default:
      return InvalidField("rule",
                          "is not set: fraction, count or token_budget");
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("domains", request.domains_size(), kMaxTopDomains));
  options.domains.assign(request.domains().begin(), request.domains().end());
  return options;
}

absl::StatusOr<std::vector<double>> ParseQuantiles(
    const v1::QuantilesRequest& request) {
  if (request.quantiles().empty()) {
    return std::vector<double>{0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1};
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("quantiles", request.quantiles_size(), kMaxQuantiles));
  for (int i = 0; i < request.quantiles_size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(CheckRange<double>(
        absl::StrCat("quantiles[", i, "]"), request.quantiles(i), 0.0, 1.0));
  }
  return std::vector<double>(request.quantiles().begin(),
                             request.quantiles().end());
}

absl::StatusOr<absl::Duration> ParseWatchInterval(
    const v1::WatchJobRequest& request) {
  if (request.interval_seconds() == 0) return absl::Seconds(1);
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<double>("interval_seconds", request.interval_seconds(),
                         kMinWatchSeconds, kMaxWatchSeconds));
  return absl::Seconds(request.interval_seconds());
}

}  // namespace headwise
