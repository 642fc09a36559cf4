#include <cstdio>
#include <memory>

#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct EmbedFlags {
  ClusterFlags cluster;
  TextFlags text;
  std::string pooling = "mean";
  bool normalize = false;
  std::string priority;
  bool json = false;
};

absl::Status RunEmbed(const EmbedFlags& flags) {
  v1::EmbedRequest request;
  HEADWISE_ASSIGN_OR_RETURN(*request.mutable_text(), ReadUtf8Text(flags.text));
  request.set_pooling(flags.pooling == "last" ? v1::POOLING_LAST
                                              : v1::POOLING_MEAN);
  request.set_normalize(flags.normalize);
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  request.set_plan(session->plan());
  request.set_priority(PriorityOf(flags.priority));
  HEADWISE_ASSIGN_OR_RETURN(const v1::EmbedResponse response,
                            session->client().Embed(request));
  if (flags.json) {
    PrintJsonLine(
        {{"embedding", std::vector<float>(response.embedding().begin(),
                                          response.embedding().end())},
         {"usage", UsageToJson(response.usage())}});
    return absl::OkStatus();
  }
  for (const float value : response.embedding()) std::printf("%.9g\n", value);
  return absl::OkStatus();
}

}  // namespace

void AddEmbedCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command =
      app.add_subcommand("embed", "The final hidden states of a text, pooled");
  auto flags = std::make_shared<EmbedFlags>();
  AddTextFlags(*command, "text", /*required=*/true, flags->text);
  AddSessionFlags(*command, flags->cluster);
  AddPlanFlag(*command, flags->cluster);
  AddPriorityFlag(*command, flags->priority);
  command->add_option("--pooling", flags->pooling, "Over the text's tokens")
      ->check(CLI::IsMember({"mean", "last"}))
      ->capture_default_str();
  command->add_flag("--normalize", flags->normalize, "To length 1");
  command->add_flag("--json", flags->json, "embedding, usage");
  command->footer(
      "Example:\n  headwise embed -m M --text \"A cat.\" --normalize --json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunEmbed(*flags); }; });
}

}  // namespace headwise
