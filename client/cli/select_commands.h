// The commands under `headwise select`, and what they share.

#ifndef HEADWISE_CLIENT_CLI_SELECT_COMMANDS_H_
#define HEADWISE_CLIENT_CLI_SELECT_COMMANDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/cli/commands.h"
#include "headwise/v1/selection.pb.h"

namespace headwise {

// Each adds its command to `select`, as in commands.h.
void AddSelectDetectCommand(CLI::App& select, CommandRun* run);
void AddSelectScoreCommand(CLI::App& select, CommandRun* run);
void AddSelectRunCommand(CLI::App& select, CommandRun* run);
void AddSelectJobCommands(CLI::App& select, CommandRun* run);
void AddSelectTopCommand(CLI::App& select, CommandRun* run);
void AddSelectReportCommand(CLI::App& select, CommandRun* run);

// How documents are scored and ranked.
struct SelectScoringFlags {
  std::string plan;  // masked; a file, or its name at the server
  int64_t window = 0;
  int64_t max_tokens = 0;
  int64_t skip_tokens = 0;
  std::optional<int64_t> min_tokens;
  std::optional<double> min_loss;
  std::optional<double> max_repetition;
  std::vector<std::string> domains;
};

// Names of the fields of JSON lines.
struct SelectFieldFlags {
  std::string id = "id";
  std::string text = "text";
  std::string domain = "domain";
  std::string default_domain;  // of records without that field
};

// The best share of every domain.
struct SelectRuleFlags {
  std::optional<double> fraction;
  std::optional<int64_t> count;
  std::optional<int64_t> tokens;
  std::vector<std::string> domains;
};

void AddSelectScoringFlags(CLI::App& command, SelectScoringFlags& flags);
void AddSelectFieldFlags(CLI::App& command, SelectFieldFlags& flags);
// One of --fraction, --count and --tokens; required if `required`.
void AddSelectRuleFlags(CLI::App& command, bool required,
                        SelectRuleFlags& flags);

// FailedPrecondition, which says how to make one, if no plan was given; else
// the errors of reading it.
absl::StatusOr<v1::MaskedPlan> MaskedPlanOf(const std::string& plan);
void WriteScoring(const SelectScoringFlags& flags, v1::SelectionScoring* out);
void WriteRanking(const SelectScoringFlags& flags, v1::SelectionRanking* out);
void WriteRule(const SelectRuleFlags& flags, v1::TopKRequest* out);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_COMMANDS_H_
