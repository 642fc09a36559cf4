// The program `headwise`: parses the command line and runs one command.

#include <csignal>
#include <iostream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "base/build_info.h"
#include "base/program_log.h"
#include "client/cli/commands.h"

int main(int argc, char** argv) {
  headwise::LogToStderr({.level = "warn"});
  // A reader that closes our output early is an error of write, not a signal.
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app;
  headwise::CommandRun run;
  headwise::AddAllCommands(app, &run);
  app.set_version_flag("--version", headwise::TextOf(headwise::OwnBuild()));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::cerr << "headwise: " << absl::StatusCodeToString(status.code()) << ": "
            << status.message() << "\n";
  return 1;
}
