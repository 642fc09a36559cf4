// The commands of the program `headwise`.

#ifndef HEADWISE_CLIENT_CLI_COMMANDS_H_
#define HEADWISE_CLIENT_CLI_COMMANDS_H_

#include <functional>

#include "CLI/App.hpp"
#include "absl/status/status.h"

namespace headwise {

// What the parsed command does. Results go to stdout, all else to stderr.
using CommandRun = std::function<absl::Status()>;

// Each adds its command to `app`; when the command was given, parsing sets
// `*run`, which must outlive the app's parsing.
void AddServeCommand(CLI::App& app, CommandRun* run);
void AddGenerateCommand(CLI::App& app, CommandRun* run);
void AddChatCommand(CLI::App& app, CommandRun* run);
void AddScoreCommand(CLI::App& app, CommandRun* run);
void AddEmbedCommand(CLI::App& app, CommandRun* run);
void AddTokenizeCommand(CLI::App& app, CommandRun* run);
void AddDetokenizeCommand(CLI::App& app, CommandRun* run);
void AddHeadsCommand(CLI::App& app, CommandRun* run);
void AddPlanCommand(CLI::App& app, CommandRun* run);
void AddSessionCommand(CLI::App& app, CommandRun* run);
void AddMemoryCommand(CLI::App& app, CommandRun* run);
void AddSelectCommand(CLI::App& app, CommandRun* run);
void AddBenchCommand(CLI::App& app, CommandRun* run);
void AddInspectCommand(CLI::App& app, CommandRun* run);

// All of them, with the help texts of the whole program.
void AddAllCommands(CLI::App& app, CommandRun* run);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_COMMANDS_H_
