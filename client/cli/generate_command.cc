#include <memory>

#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/event_printer.h"
#include "client/cli/flags.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct GenerateFlags {
  ClusterFlags cluster;
  GenerationFlags generation;
  TextFlags prompt;
  std::string priority;
  bool json = false;
  bool verbose = false;
};

absl::Status RunGenerate(const GenerateFlags& flags) {
  v1::GenerateRequest request;
  HEADWISE_ASSIGN_OR_RETURN(*request.mutable_text(),
                            ReadUtf8Text(flags.prompt));
  WriteGenerationOptions(flags.generation, request.mutable_options());
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  request.set_plan(session->plan());
  request.set_priority(PriorityOf(flags.priority));
  EventPrinter printer(flags.json);
  const absl::Status status = session->client().Generate(
      request,
      [&](const v1::GenerateResponse& event) { return printer.Print(event); });
  printer.Finish(flags.verbose && status.ok());
  return status;
}

}  // namespace

void AddGenerateCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand("generate", "Continue a text");
  auto flags = std::make_shared<GenerateFlags>();
  AddTextFlags(*command, "prompt", /*required=*/true, flags->prompt);
  AddSessionFlags(*command, flags->cluster);
  AddPlanFlag(*command, flags->cluster);
  AddPriorityFlag(*command, flags->priority);
  AddGenerationFlags(*command, flags->generation);
  AddAnswerFlags(*command, flags->json, flags->verbose);
  command->footer(
      "Examples:\n"
      "  headwise generate -m M --prompt \"The capital of France is\" -n 8\n"
      "  headwise generate -m M --prompt-file story.txt --temperature 0.8 "
      "--seed 7\n"
      "  headwise generate -m M --prompt-file book.txt --plan plan.json "
      "--context 1000000 -n 64\n"
      "  echo \"1, 2, 3,\" | headwise generate -m M --prompt-file - --json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunGenerate(*flags); }; });
}

}  // namespace headwise
