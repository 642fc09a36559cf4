#include <filesystem>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_folder.h"
#include "client/cli/select_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct TopFlags {
  ClusterFlags cluster;  // the server alone
  std::string job;
  std::string out;
  std::string temp_dir;
  SelectRuleFlags rule;
};

absl::Status RunTop(const TopFlags& flags) {
  v1::TopKRequest request;
  request.set_job_id(flags.job);
  WriteRule(flags.rule, &request);
  bool is_written = true;
  const auto print = [&](const v1::TopKResponse::Ranked& ranked) {
    nlohmann::ordered_json line = {{"rank", ranked.rank()}};
    line.update(SelectionRowToJson(ranked.row()));
    return is_written = PrintJsonLine(line);
  };
  absl::Status status;
  if (flags.out.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                              Session::Open(flags.cluster));
    status = session->selection().TopK(request, print);
  } else {
    HEADWISE_ASSIGN_OR_RETURN(const SelectionFolder folder,
                              ReadSelectionFolder(flags.out));
    status = FindTopOfFolder(folder, request, flags.temp_dir, print);
  }
  if (is_written) return status;
  return absl::UnavailableError("cannot write to standard output");
}

}  // namespace

void AddSelectTopCommand(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "top", "The best rows of every domain, as JSON lines");
  auto flags = std::make_shared<TopFlags>();
  flags->temp_dir = std::filesystem::temp_directory_path().string();
  CLI::Option* out =
      command
          ->add_option("--out", flags->out, "The folder of a job that is DONE")
          ->check(CLI::ExistingDirectory);
  AddServerFlags(*command, flags->cluster);
  CLI::Option* server =
      command->get_option("--server")->required(false)->excludes(out);
  command
      ->add_option("--job", flags->job,
                   "Of the server: its id, or 8 or more first digits")
      ->needs(server);
  AddSelectRuleFlags(*command, /*required=*/true, flags->rule);
  command
      ->add_option("--temp-dir", flags->temp_dir,
                   "For sorting (with --out): about 60 bytes and the id of "
                   "each row")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  command->parse_complete_callback([command] {
    if (command->count("--out") + command->count("--job") == 0) {
      throw CLI::RequiredError("--out, or --server and --job");
    }
  });
  command->footer(
      "Lines are those of the job's row files with \"rank\" before them: by "
      "domain, then by\nscore, greatest first; ties by id. Exact.\n\n"
      "Examples:\n"
      "  headwise select top --out scores --fraction 0.2 > best.jsonl\n"
      "  headwise select top --out scores --tokens 1000000000 --only-domains "
      "web,code\n"
      "  headwise select top --server 10.0.0.10:7600 --job 0123abcd --count "
      "100");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunTop(*flags); }; });
}

}  // namespace headwise
