#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/event_printer.h"
#include "client/cli/flags.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct ChatFlags {
  ClusterFlags cluster;
  GenerationFlags generation;
  TextFlags prompt;
  std::string system;
  std::string priority;
  bool json = false;
  bool verbose = false;
};

void AddMessage(const std::string& role, const std::string& content,
                v1::ChatRequest* request) {
  v1::ChatMessage& message = *request->add_messages();
  message.set_role(role);
  message.set_content(content);
}

// Adds the answer to the request's messages.
absl::Status Answer(const ChatFlags& flags, Client& client,
                    v1::ChatRequest* request) {
  EventPrinter printer(flags.json);
  const absl::Status status = client.Chat(
      *request,
      [&](const v1::GenerateResponse& event) { return printer.Print(event); });
  printer.Finish(flags.verbose && status.ok());
  if (status.ok()) AddMessage("assistant", printer.text(), request);
  return status;
}

// Lines of standard input are the user's turns; an empty one is skipped.
absl::Status Converse(const ChatFlags& flags, Client& client,
                      v1::ChatRequest* request) {
  const bool is_terminal = isatty(STDIN_FILENO) == 1;
  if (is_terminal) std::cerr << "End with Ctrl-D.\n";
  std::string line;
  while (true) {
    if (is_terminal) std::cerr << "> " << std::flush;
    if (!std::getline(std::cin, line)) return absl::OkStatus();
    if (line.empty()) continue;
    absl::Status status = CheckUtf8("the line", line);
    if (status.ok()) {
      AddMessage("user", line, request);
      status = Answer(flags, client, request);
      if (!status.ok()) request->mutable_messages()->RemoveLast();
    }
    if (status.ok()) continue;
    // A person may say it otherwise, or again; the history stays.
    if (!is_terminal) return status;
    std::cerr << absl::StatusCodeToString(status.code()) << ": "
              << status.message() << "\n";
  }
}

absl::Status RunChat(const ChatFlags& flags) {
  v1::ChatRequest request;
  WriteGenerationOptions(flags.generation, request.mutable_options());
  if (!flags.system.empty()) AddMessage("system", flags.system, &request);
  const bool one_turn =
      !flags.prompt.text.empty() || !flags.prompt.file.empty();
  if (one_turn) {
    HEADWISE_ASSIGN_OR_RETURN(const std::string prompt,
                              ReadUtf8Text(flags.prompt));
    AddMessage("user", prompt, &request);
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  request.set_plan(session->plan());
  request.set_priority(PriorityOf(flags.priority));
  return one_turn ? Answer(flags, session->client(), &request)
                  : Converse(flags, session->client(), &request);
}

}  // namespace

void AddChatCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand(
      "chat", "Talk with the model through its own chat template");
  auto flags = std::make_shared<ChatFlags>();
  AddTextFlags(*command, "prompt", /*required=*/false, flags->prompt);
  command->add_option("--system", flags->system, "The system message")
      ->check(Utf8());
  AddSessionFlags(*command, flags->cluster);
  AddPlanFlag(*command, flags->cluster);
  AddPriorityFlag(*command, flags->priority);
  AddGenerationFlags(*command, flags->generation);
  AddAnswerFlags(*command, flags->json, flags->verbose);
  command->footer(
      "Without a prompt, each line of standard input is a turn and the history "
      "is kept.\n\nExamples:\n"
      "  headwise chat -m M --prompt \"Why is the sky blue?\"\n"
      "  headwise chat -m M --system \"Answer in one word.\"\n"
      "  headwise chat --server 127.0.0.1:7600 --prompt-file question.txt");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunChat(*flags); }; });
}

}  // namespace headwise
