#include "client/cli/commands.h"

namespace headwise {

void AddAllCommands(CLI::App& app, CommandRun* run) {
  app.description(
      "Headwise: attention, served head by head; the same bits on any cluster."
      "\n\nEvery command works on a running server (--server host:port) or, "
      "with --model,\non a cluster inside this process.");
  app.footer(
      "Try:\n"
      "  headwise chat --model M --prompt \"Why is the sky blue?\"\n"
      "  headwise heads map --model M --local-workers 2 --speed 1,0.5\n"
      "  headwise score --model M --text-file T --json\n"
      "  headwise serve --model M --listen 127.0.0.1:7600 &\n"
      "  headwise generate --server 127.0.0.1:7600 --prompt \"Once upon\"\n\n"
      "Exit codes: 0 done, 1 an error (on stderr), 2 wrong usage.");
  app.require_subcommand(1);
  AddServeCommand(app, run);
  AddGenerateCommand(app, run);
  AddChatCommand(app, run);
  AddScoreCommand(app, run);
  AddEmbedCommand(app, run);
  AddTokenizeCommand(app, run);
  AddDetokenizeCommand(app, run);
  AddHeadsCommand(app, run);
  AddPlanCommand(app, run);
  AddSessionCommand(app, run);
  AddMemoryCommand(app, run);
  AddSelectCommand(app, run);
  AddBenchCommand(app, run);
  AddInspectCommand(app, run);
}

}  // namespace headwise
