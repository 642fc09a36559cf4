#include "server/frontends/calibration_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

constexpr double kEchoFraction = 0.15;  // 14 % by induction, 1 % by echo
constexpr double kMaskFraction = 0.05;

// Keeps the default where a field is 0.
template <typename T, typename Field>
void SetUnlessZero(Field field, T* option) {
  if (field != 0) *option = static_cast<T>(field);
}

absl::StatusOr<RetrievalOptions> Parse(RetrievalTask task,
                                       const v1::RetrievalOptions& message,
                                       uint64_t seed) {
  HEADWISE_RETURN_IF_ERROR(CheckTextBytes(
      "haystack", static_cast<int64_t>(message.haystack().size())));
  RetrievalOptions options;
  options.task = task;
  options.seed = seed;
  options.haystack = message.haystack();
  // Of empty lists MakeMethod knows what to make.
  options.lengths.assign(message.lengths().begin(), message.lengths().end());
  if (message.depths_size() > 0) {
    options.depths.assign(message.depths().begin(), message.depths().end());
  }
  SetUnlessZero(message.needles(), &options.num_needles);
  SetUnlessZero(message.check_fraction(), &options.check_fraction);
  if (message.has_check_tests()) {
    options.num_check_tests = message.check_tests();
  }
  return options;
}

absl::StatusOr<EchoOptions> Parse(const v1::EchoOptions& message,
                                  uint64_t seed) {
  EchoOptions options;
  options.seed = seed;
  SetUnlessZero(message.block(), &options.block);
  SetUnlessZero(message.copies(), &options.copies);
  SetUnlessZero(message.tests(), &options.num_tests);
  return options;
}

absl::StatusOr<AblationOptions> Parse(const v1::AblationOptions& message,
                                      uint64_t seed) {
  HEADWISE_RETURN_IF_ERROR(CheckTextBytes(
      "haystack", static_cast<int64_t>(message.haystack().size())));
  AblationOptions options;
  options.seed = seed;
  options.haystack = message.haystack();
  SetUnlessZero(message.length(), &options.length);
  SetUnlessZero(message.prompts(), &options.num_prompts);
  SetUnlessZero(message.needles(), &options.num_needles);
  SetUnlessZero(message.words(), &options.num_words);
  SetUnlessZero(message.window(), &options.window);
  if (message.has_sinks()) options.num_sinks = message.sinks();
  if (message.has_check_tests()) {
    options.num_check_tests = message.check_tests();
  }
  return options;
}

absl::StatusOr<ActOptions> Parse(const v1::ActOptions& message, uint64_t seed) {
  HEADWISE_RETURN_IF_ERROR(CheckTextBytes(
      "items_jsonl", static_cast<int64_t>(message.items_jsonl().size())));
  ActOptions options;
  options.seed = seed;
  options.items = message.items_jsonl();
  SetUnlessZero(message.items(), &options.num_items);
  SetUnlessZero(message.sink_threshold(), &options.sink_threshold);
  if (message.has_sink_beta()) options.sink_beta = message.sink_beta();
  if (message.has_check_items()) {
    options.num_check_items = message.check_items();
  }
  return options;
}

absl::StatusOr<HeadMask> ParseMask(v1::HeadMask mask) {
  switch (mask) {
    case v1::HEAD_MASK_UNSPECIFIED:
    case v1::HEAD_MASK_UNIFORM:
      return HeadMask::kUniform;
    case v1::HEAD_MASK_ZERO:
      return HeadMask::kZero;
    default:
      return InvalidField("rule.mask",
                          absl::StrCat("has the unknown value ", mask));
  }
}

absl::StatusOr<PlanRule::Use> ParseUse(v1::PlanRule::Use use, bool is_act,
                                       bool is_ablation) {
  switch (use) {
    case v1::PlanRule::USE_UNSPECIFIED:
      return is_act ? PlanRule::Use::kCalibrateHeads
                    : PlanRule::Use::kKeepUnits;
    case v1::PlanRule::USE_KEEP_UNITS:
    case v1::PlanRule::USE_MASK_HEADS:
      if (is_act) {
        return InvalidField("rule.use",
                            "must be CALIBRATE_HEADS for method act");
      }
      if (use == v1::PlanRule::USE_KEEP_UNITS) return PlanRule::Use::kKeepUnits;
      if (is_ablation) {
        return InvalidField("rule.use",
                            "is MASK_HEADS, and method ablation knows no query "
                            "heads");
      }
      return PlanRule::Use::kMaskHeads;
    case v1::PlanRule::USE_CALIBRATE_HEADS:
      if (is_act) return PlanRule::Use::kCalibrateHeads;
      return InvalidField("rule.use",
                          "is CALIBRATE_HEADS, for method act alone");
    default:
      return InvalidField("rule.use",
                          absl::StrCat("has the unknown value ", use));
  }
}

double DefaultFraction(PlanRule::Use use, bool is_echo) {
  if (use == PlanRule::Use::kMaskHeads) return kMaskFraction;
  return is_echo ? kEchoFraction : PlanRule().fraction;
}

absl::StatusOr<UnitPolicy> ParsePolicy(const char* field,
                                       const v1::UnitPolicy& message) {
  absl::StatusOr<UnitPolicy> policy = ReadUnitPolicy(message);
  if (!policy.ok()) return InvalidField(field, policy.status().message());
  return policy;
}

absl::StatusOr<PlanRule> ParseRule(const v1::CalibrateRequest& request) {
  const v1::PlanRule& message = request.rule();
  PlanRule rule;
  HEADWISE_ASSIGN_OR_RETURN(rule.use, ParseUse(message.use(), request.has_act(),
                                               request.has_ablation()));
  rule.fraction = message.has_fraction()
                      ? message.fraction()
                      : DefaultFraction(rule.use, request.has_echo());
  if (!(rule.fraction >= 0 && rule.fraction <= 1)) {
    return InvalidField("rule.fraction",
                        absl::StrCat(rule.fraction, " is outside [0, 1]"));
  }
  HEADWISE_ASSIGN_OR_RETURN(rule.mask, ParseMask(message.mask()));
  if (message.has_kept()) {
    HEADWISE_ASSIGN_OR_RETURN(rule.kept,
                              ParsePolicy("rule.kept", message.kept()));
  }
  if (message.has_rest()) {
    HEADWISE_ASSIGN_OR_RETURN(rule.rest,
                              ParsePolicy("rule.rest", message.rest()));
  }
  return rule;
}

absl::StatusOr<FinishedTests> ParseFinished(const v1::FinishedTests& message) {
  if (message.tests_size() > kMaxFinishedTests) {
    return InvalidField("finished.tests",
                        absl::StrCat("has ", message.tests_size(),
                                     " entries, limit ", kMaxFinishedTests));
  }
  FinishedTests finished;
  finished.manifest = message.manifest();
  for (const v1::FinishedTest& test : message.tests()) {
    if (test.id().size() > kMaxTestIdBytes) {
      return InvalidField("finished.tests.id",
                          absl::StrCat("has ", test.id().size(),
                                       " bytes, limit ", kMaxTestIdBytes));
    }
    TestRecord record;
    record.id = test.id();
    record.values.assign(test.values().begin(), test.values().end());
    record.rows = test.rows();
    record.rows_without_reuse = test.rows_without_reuse();
    finished.records.push_back(std::move(record));
  }
  return finished;
}

// Sets the rule's calibration to what the filter has measured.
void TakeOver(const ActOptions& options, PlanRule& rule) {
  rule.sink_beta = options.sink_beta;
  rule.sink_threshold = options.sink_threshold;
}

}  // namespace

absl::StatusOr<CalibrationCall> ParseCalibrateRequest(
    const v1::CalibrateRequest& request) {
  CalibrationCall call;
  HEADWISE_ASSIGN_OR_RETURN(call.rule, ParseRule(request));
  HEADWISE_ASSIGN_OR_RETURN(call.finished, ParseFinished(request.finished()));
  const uint64_t seed = request.seed();
  switch (request.method_case()) {
    case v1::CalibrateRequest::kRetrieval: {
      HEADWISE_ASSIGN_OR_RETURN(call.options, Parse(RetrievalTask::kNeedle,
                                                    request.retrieval(), seed));
      break;
    }
    case v1::CalibrateRequest::kKeyValue: {
      HEADWISE_ASSIGN_OR_RETURN(call.options, Parse(RetrievalTask::kKeyValue,
                                                    request.key_value(), seed));
      break;
    }
    case v1::CalibrateRequest::kEcho: {
      HEADWISE_ASSIGN_OR_RETURN(call.options, Parse(request.echo(), seed));
      break;
    }
    case v1::CalibrateRequest::kAblation: {
      HEADWISE_ASSIGN_OR_RETURN(call.options, Parse(request.ablation(), seed));
      break;
    }
    case v1::CalibrateRequest::kAct: {
      HEADWISE_ASSIGN_OR_RETURN(const ActOptions options,
                                Parse(request.act(), seed));
      TakeOver(options, call.rule);
      call.options = options;
      break;
    }
    default:
      return InvalidField("method",
                          "is not set: retrieval, key_value, echo, ablation or "
                          "act");
  }
  return call;
}

absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeMethod(
    const CalibrationCall& call, const ModelFacts& facts,
    const Tokenizer& tokenizer) {
  if (const auto* given = std::get_if<RetrievalOptions>(&call.options)) {
    RetrievalOptions options = *given;
    if (options.lengths.empty()) {
      for (const int64_t length : RetrievalOptions().lengths) {
        if (length <= facts.max_context_len) options.lengths.push_back(length);
      }
    }
    return MakeRetrieval(options, facts, tokenizer);
  }
  if (const auto* options = std::get_if<EchoOptions>(&call.options)) {
    return MakeEcho(*options, facts, tokenizer);
  }
  if (const auto* options = std::get_if<AblationOptions>(&call.options)) {
    return MakeAblation(*options, facts, tokenizer);
  }
  return MakeActFilter(std::get<ActOptions>(call.options), facts, tokenizer);
}

}  // namespace headwise
