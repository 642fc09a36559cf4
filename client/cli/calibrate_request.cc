#include "client/cli/calibrate_request.h"

#include <utility>

#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/policy_names.h"
#include "model/head_scores/head_scores.h"
#include "proto/head_plan_codec.h"

namespace headwise {
namespace {

// Of a file flag; empty for none.
absl::StatusOr<std::string> FileText(const std::string& path) {
  if (path.empty()) return std::string();
  return ReadUtf8Text(TextFlags{.file = path});
}

absl::Status Refuse(bool given, const char* flag, const std::string& method) {
  if (!given) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": method ", method, " has no such option"));
}

// Flags that only some methods have.
absl::Status CheckFlags(const CalibrateFlags& flags) {
  const std::string& method = flags.method;
  const bool retrieval = method == "retrieval" || method == "key-value";
  const bool ablation = method == "ablation";
  const bool echo = method == "echo";
  const bool act = method == "act";
  const auto refuse = [&](bool has, bool given, const char* flag) {
    return has ? absl::OkStatus() : Refuse(given, flag, method);
  };
  absl::Status status;
  status.Update(
      refuse(retrieval || ablation, !flags.lengths.empty(), "--lengths"));
  status.Update(refuse(retrieval, !flags.depths.empty(), "--depths"));
  status.Update(refuse(retrieval || ablation, flags.needles != 0, "--needles"));
  status.Update(
      refuse(retrieval || ablation, !flags.haystack.empty(), "--haystack"));
  status.Update(refuse(!echo, flags.check_tests.has_value(), "--check-tests"));
  status.Update(
      refuse(retrieval, flags.check_fraction != 0, "--check-fraction"));
  status.Update(refuse(echo, flags.block != 0, "--block"));
  status.Update(refuse(echo, flags.copies != 0, "--copies"));
  status.Update(refuse(!retrieval, flags.tests != 0, "--tests"));
  status.Update(refuse(ablation, flags.words != 0, "--words"));
  status.Update(refuse(act, !flags.items.empty(), "--items"));
  status.Update(refuse(act, flags.sink_beta.has_value(), "--sink-beta"));
  status.Update(refuse(act, flags.sink_threshold != 0, "--sink-threshold"));
  status.Update(refuse(!act, flags.keep.has_value(), "--keep"));
  status.Update(
      refuse(retrieval || echo, flags.mask_top.has_value(), "--mask-top"));
  if (ablation && flags.lengths.size() > 1) {
    status.Update(absl::InvalidArgumentError(
        absl::StrCat("--lengths: ", flags.lengths.size(),
                     " are given; method ablation has one")));
  }
  return status;
}

absl::Status SetRetrieval(const CalibrateFlags& flags,
                          v1::RetrievalOptions* options) {
  options->mutable_lengths()->Assign(flags.lengths.begin(),
                                     flags.lengths.end());
  options->mutable_depths()->Assign(flags.depths.begin(), flags.depths.end());
  options->set_needles(flags.needles);
  options->set_check_fraction(flags.check_fraction);
  if (flags.check_tests) options->set_check_tests(*flags.check_tests);
  HEADWISE_ASSIGN_OR_RETURN(*options->mutable_haystack(),
                            FileText(flags.haystack));
  return absl::OkStatus();
}

absl::Status SetAblation(const CalibrateFlags& flags,
                         v1::AblationOptions* options) {
  if (!flags.lengths.empty()) options->set_length(flags.lengths[0]);
  options->set_needles(flags.needles);
  options->set_words(flags.words);
  options->set_prompts(flags.tests);
  options->set_sinks(flags.unit.num_sinks);
  options->set_window(flags.unit.window);
  if (flags.check_tests) options->set_check_tests(*flags.check_tests);
  HEADWISE_ASSIGN_OR_RETURN(*options->mutable_haystack(),
                            FileText(flags.haystack));
  return absl::OkStatus();
}

absl::Status SetAct(const CalibrateFlags& flags, v1::ActOptions* options) {
  options->set_items(flags.tests);
  options->set_sink_threshold(flags.sink_threshold);
  if (flags.sink_beta) options->set_sink_beta(*flags.sink_beta);
  if (flags.check_tests) options->set_check_items(*flags.check_tests);
  HEADWISE_ASSIGN_OR_RETURN(*options->mutable_items_jsonl(),
                            FileText(flags.items));
  return absl::OkStatus();
}

// The policy of a flag, with those of the fields that it has.
absl::StatusOr<UnitPolicy> PolicyOf(const char* flag, const std::string& name,
                                    const UnitPolicy& given) {
  UnitPolicy policy;
  policy.kind = *PolicyNamed(name);
  const PolicyFields fields = FieldsOf(policy.kind);
  if (fields.window) {
    policy.num_sinks = given.num_sinks;
    policy.window = given.window;
  }
  if (fields.slot_positions) policy.slot_positions = given.slot_positions;
  if (fields.chunks) {
    policy.chunk_len = given.chunk_len;
    policy.num_chunks = given.num_chunks;
    policy.per_query_head = given.per_query_head;
  }
  if (const absl::Status status = CheckUnitPolicy(policy); !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", name, ": ", status.message()));
  }
  return policy;
}

absl::Status SetRule(const CalibrateFlags& flags, v1::PlanRule* rule) {
  if (flags.mask_top) {
    rule->set_use(v1::PlanRule::USE_MASK_HEADS);
    rule->set_fraction(*flags.mask_top);
    rule->set_mask(flags.mask == "zero" ? v1::HEAD_MASK_ZERO
                                        : v1::HEAD_MASK_UNIFORM);
    return absl::OkStatus();
  }
  if (flags.keep) rule->set_fraction(*flags.keep);
  HEADWISE_ASSIGN_OR_RETURN(const PlanRule policies, PlanRuleOf(flags));
  WriteUnitPolicy(policies.kept, rule->mutable_kept());
  WriteUnitPolicy(policies.rest, rule->mutable_rest());
  return absl::OkStatus();
}

void AddTestFlags(CLI::App& command, CalibrateFlags& flags) {
  const std::string group = "Tests (defaults: docs/calibration.md)";
  command
      .add_option("--lengths", flags.lengths,
                  "Tokens of a prompt (retrieval; ablation: one)")
      ->delimiter(',')
      ->group(group);
  command
      .add_option("--depths", flags.depths, "Of needles, 0 to 1 (retrieval)")
      ->delimiter(',')
      ->group(group);
  command
      .add_option("--needles", flags.needles,
                  "Of each length and depth (retrieval); of a prompt "
                  "(ablation)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--haystack", flags.haystack,
                  "A text to hide needles in (retrieval, ablation)")
      ->check(CLI::ExistingFile)
      ->group(group);
  command
      .add_option("--tests", flags.tests,
                  "Draws (echo), prompts (ablation), items (act)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--check-tests", flags.check_tests,
                  "Held-out tests of the check; 0: no check")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command
      .add_option("--check-fraction", flags.check_fraction,
                  "Of query heads that the check masks (retrieval)")
      ->check(CLI::Range(1e-6, 0.5))
      ->group(group);
  command.add_option("--block", flags.block, "Tokens that repeat (echo)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_option("--copies", flags.copies, "Of the block (echo)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_option("--words", flags.words, "Of a needle (ablation)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--items", flags.items,
                  "Lines {\"prompt\": .., \"label\": ..} (act)")
      ->check(CLI::ExistingFile)
      ->group(group);
  command
      .add_option("--sink-beta", flags.sink_beta,
                  "What a sink keeps of its probability (act)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command
      .add_option("--sink-threshold", flags.sink_threshold,
                  "Mean probability that makes a sink (act)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command.add_option("--seed", flags.seed, "Of all draws")
      ->capture_default_str()
      ->group(group);
}

// Fields of --kept and --rest: each policy takes those that it has.
void AddPolicyFlags(CLI::App& command, CalibrateFlags& flags) {
  const std::string group = "Plan";
  command
      .add_option("--sinks", flags.unit.num_sinks,
                  "Of units that stream, in the plan and in ablation's tests")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--window", flags.unit.window,
                  "Of units that stream, in the plan and in ablation's tests")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--slot-positions", flags.unit.slot_positions,
                "Rotary distances as if nothing had been dropped (streaming), "
                "or within chunks + 1 chunks (landmark)")
      ->group(group);
  command
      .add_option("--chunk-len", flags.unit.chunk_len,
                  "Positions of a chunk (longheads, quest, landmark-oracle, "
                  "landmark: its token included)")
      ->group(group);
  command
      .add_option("--chunks", flags.unit.num_chunks,
                  "Chunks that a query sees (longheads, quest, "
                  "landmark-oracle, landmark)")
      ->group(group);
  command
      .add_flag("--per-query-head", flags.unit.per_query_head,
                "Each query head chooses its own chunks")
      ->group(group);
}

void AddPlanFlags(CLI::App& command, CalibrateFlags& flags) {
  const std::string group = "Plan";
  CLI::Option* keep =
      command
          .add_option("--keep", flags.keep,
                      "Part of the units that are kept; default 0.25, echo "
                      "0.15")
          ->check(CLI::Range(0.0, 1.0))
          ->group(group);
  const CLI::IsMember a_policy(
      std::vector<std::string>(kPolicyNames.begin(), kPolicyNames.end()));
  command.add_option("--kept", flags.kept, "What those units do")
      ->check(a_policy)
      ->capture_default_str()
      ->group(group);
  command.add_option("--rest", flags.rest, "What the other units do")
      ->check(a_policy)
      ->capture_default_str()
      ->group(group);
  AddPolicyFlags(command, flags);
  command
      .add_option("--mask-top", flags.mask_top,
                  "Instead of --keep: mask this part of the query heads, the "
                  "best ones")
      ->check(CLI::Range(0.0, 1.0))
      ->excludes(keep)
      ->group(group);
  command.add_option("--mask", flags.mask, "How")
      ->check(CLI::IsMember({"uniform", "zero"}))
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddCalibrateFlags(CLI::App& command, CalibrateFlags& flags) {
  command.add_option("--method", flags.method, "How heads are measured")
      ->check(
          CLI::IsMember({"retrieval", "key-value", "echo", "ablation", "act"}));
  AddTestFlags(command, flags);
  AddPlanFlags(command, flags);
}

absl::StatusOr<PlanRule> PlanRuleOf(const CalibrateFlags& flags) {
  PlanRule rule;
  if (flags.mask_top) {
    rule.use = PlanRule::Use::kMaskHeads;
    rule.fraction = *flags.mask_top;
    rule.mask = *HeadMaskNamed(flags.mask);
    return rule;
  }
  if (flags.keep) rule.fraction = *flags.keep;
  HEADWISE_ASSIGN_OR_RETURN(rule.kept,
                            PolicyOf("--kept", flags.kept, flags.unit));
  HEADWISE_ASSIGN_OR_RETURN(rule.rest,
                            PolicyOf("--rest", flags.rest, flags.unit));
  return rule;
}

absl::StatusOr<v1::CalibrateRequest> CalibrateRequestOf(
    const CalibrateFlags& flags) {
  HEADWISE_RETURN_IF_ERROR(CheckFlags(flags));
  v1::CalibrateRequest request;
  request.set_seed(flags.seed);
  if (flags.method == "retrieval") {
    HEADWISE_RETURN_IF_ERROR(SetRetrieval(flags, request.mutable_retrieval()));
  } else if (flags.method == "key-value") {
    HEADWISE_RETURN_IF_ERROR(SetRetrieval(flags, request.mutable_key_value()));
  } else if (flags.method == "ablation") {
    HEADWISE_RETURN_IF_ERROR(SetAblation(flags, request.mutable_ablation()));
  } else if (flags.method == "act") {
    HEADWISE_RETURN_IF_ERROR(SetAct(flags, request.mutable_act()));
  } else {
    request.mutable_echo()->set_block(flags.block);
    request.mutable_echo()->set_copies(flags.copies);
    request.mutable_echo()->set_tests(flags.tests);
  }
  if (flags.method != "act") {
    HEADWISE_RETURN_IF_ERROR(SetRule(flags, request.mutable_rule()));
  }
  return request;
}

}  // namespace headwise
