// The commands under `headwise bench`.

#ifndef HEADWISE_CLIENT_CLI_BENCH_COMMANDS_H_
#define HEADWISE_CLIENT_CLI_BENCH_COMMANDS_H_

#include "CLI/App.hpp"
#include "client/cli/commands.h"

namespace headwise {

// Each adds its command to `bench`, as in commands.h.
void AddBenchMemoryCommand(CLI::App& bench, CommandRun* run);
void AddBenchNeedleCommand(CLI::App& bench, CommandRun* run);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_COMMANDS_H_
