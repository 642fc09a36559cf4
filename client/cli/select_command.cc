#include <memory>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/plan_choice.h"
#include "client/cli/select_commands.h"
#include "proto/head_plan_codec.h"

namespace headwise {

void AddSelectScoringFlags(CLI::App& command, SelectScoringFlags& flags) {
  const std::string group = "Scoring";
  command
      .add_option("--plan", flags.plan,
                  "The masked plan of `select detect`: a file, or its name at "
                  "the server")
      ->group(group);
  command
      .add_option("--window-tokens", flags.window,
                  "Of a window; longer texts are scored window by window; 0: "
                  "the model's context, at most 2048")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--max-tokens", flags.max_tokens,
                  "Look at the first tokens of a document only; 0: at all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--skip-tokens", flags.skip_tokens,
                  "At the begin of each window, whose loss does not count; 0: "
                  "1")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--min-tokens", flags.min_tokens,
                  "Of a document that is ranked; default 64")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command
      .add_option("--min-loss", flags.min_loss,
                  "Nats a token, of a document that is ranked; default 0.2")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command
      .add_option("--max-repetition", flags.max_repetition,
                  "Of a row's repetition, for a document that is ranked; "
                  "default 1: all are")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command
      .add_option("--domains", flags.domains,
                  "The only ones that are scored; default: any")
      ->delimiter(',')
      ->check(Utf8())
      ->group(group);
}

void AddSelectFieldFlags(CLI::App& command, SelectFieldFlags& flags) {
  const std::string group = "JSON lines";
  command.add_option("--id-field", flags.id, "Name of the id's field")
      ->check(Utf8())
      ->capture_default_str()
      ->group(group);
  command.add_option("--text-field", flags.text, "Name of the text's field")
      ->check(Utf8())
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--domain-field", flags.domain, "Name of the domain's field")
      ->check(Utf8())
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--domain", flags.default_domain,
                  "Of records without that field")
      ->check(Utf8())
      ->group(group);
}

void AddSelectRuleFlags(CLI::App& command, bool required,
                        SelectRuleFlags& flags) {
  CLI::Option_group* rule = command.add_option_group(
      "Selection", "What is taken of every domain, best first");
  rule->add_option("--fraction", flags.fraction, "Of its ranked documents")
      ->check(CLI::Range(0.0, 1.0));
  rule->add_option("--count", flags.count, "Documents")
      ->check(CLI::NonNegativeNumber);
  rule->add_option("--tokens", flags.tokens, "Documents of so many tokens")
      ->check(CLI::NonNegativeNumber);
  rule->require_option(required ? 1 : 0, 1);
  command.add_option("--only-domains", flags.domains, "Of these domains alone")
      ->delimiter(',')
      ->check(Utf8());
}

absl::StatusOr<v1::MaskedPlan> MaskedPlanOf(const std::string& plan) {
  if (plan.empty()) {
    return absl::FailedPreconditionError(
        "--plan: no masked plan was given; `headwise select detect` finds the "
        "retrieval heads of a model and writes one");
  }
  HEADWISE_ASSIGN_OR_RETURN(const PlanChoice choice, ReadPlanChoice(plan));
  v1::MaskedPlan message;
  if (choice.plan != nullptr) {
    WriteHeadPlan(*choice.plan, message.mutable_inline_plan());
  } else {
    message.set_stored(choice.name);
  }
  return message;
}

void WriteScoring(const SelectScoringFlags& flags, v1::SelectionScoring* out) {
  out->set_window(flags.window);
  out->set_max_tokens(flags.max_tokens);
  out->set_skip_tokens(flags.skip_tokens);
}

void WriteRanking(const SelectScoringFlags& flags, v1::SelectionRanking* out) {
  if (flags.min_tokens) out->set_min_tokens(*flags.min_tokens);
  if (flags.min_loss) out->set_min_loss(*flags.min_loss);
  if (flags.max_repetition) out->set_max_repetition(*flags.max_repetition);
  out->mutable_domains()->Assign(flags.domains.begin(), flags.domains.end());
}

void WriteRule(const SelectRuleFlags& flags, v1::TopKRequest* out) {
  if (flags.fraction) out->set_fraction(*flags.fraction);
  if (flags.count) out->set_count(*flags.count);
  if (flags.tokens) out->set_token_budget(*flags.tokens);
  out->mutable_domains()->Assign(flags.domains.begin(), flags.domains.end());
}

void AddSelectCommand(CLI::App& app, CommandRun* run) {
  CLI::App* select = app.add_subcommand(
      "select", "Which documents of a corpus need a model's retrieval heads");
  select->require_subcommand(1);
  AddSelectDetectCommand(*select, run);
  AddSelectScoreCommand(*select, run);
  AddSelectRunCommand(*select, run);
  AddSelectJobCommands(*select, run);
  AddSelectTopCommand(*select, run);
  AddSelectReportCommand(*select, run);
  select->footer(
      "Examples:\n"
      "  headwise select detect -m M -o masked.json\n"
      "  headwise select run -m M --plan masked.json --input corpus --out "
      "scores\n"
      "  headwise select top --out scores --fraction 0.2 > best.jsonl\n"
      "  headwise select report --out scores --input corpus --html "
      "report.html\n"
      "docs/selection.md describes files, guarantees and flags.");
}

}  // namespace headwise
