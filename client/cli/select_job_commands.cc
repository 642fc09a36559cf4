#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/html_text.h"
#include "client/cli/json_output.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_folder.h"
#include "client/cli/select_output.h"
#include "client/cli/select_watch.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct JobFlags {
  ClusterFlags cluster;
  std::string out;    // of a run without a server
  std::string state;  // the same; default: beside `out`
  std::string job;
  bool watch = false;
  bool json = false;
};

void Print(const v1::SelectionJob& job, bool json) {
  if (json) {
    PrintJsonLine(SelectionJobToJson(job));
  } else {
    std::fputs(RenderSelectionJob(job).c_str(), stdout);
  }
}

void PrintOfList(const v1::SelectionJob& job, bool json) {
  if (json) {
    PrintJsonLine(SelectionJobToJson(job));
    return;
  }
  absl::PrintF("%s  %-9s %9s of %9s shards %14s documents  %s\n",
               job.job_id().substr(0, 12), StateName(job.state()),
               GroupedDigits(job.shards_done()),
               GroupedDigits(job.shards_total()),
               GroupedDigits(job.documents()), job.output());
}

absl::Status PrintList(SelectionClient& client, bool json) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::ListJobsResponse list, client.ListJobs());
  for (const v1::SelectionJob& job : list.jobs()) PrintOfList(job, json);
  return absl::OkStatus();
}

// From the books of a run, which may have stopped.
absl::Status RunBookedStatus(const JobFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<v1::SelectionJob> jobs,
      ReadSelectRunJobs(flags.out, flags.state, flags.job));
  for (const v1::SelectionJob& job : jobs) {
    if (flags.job.empty()) {
      PrintOfList(job, flags.json);
    } else {
      Print(job, flags.json);
    }
  }
  return absl::OkStatus();
}

absl::Status RunStatus(const JobFlags& flags) {
  if (flags.cluster.server.empty()) return RunBookedStatus(flags);
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  SelectionClient& client = session->selection();
  if (flags.job.empty()) return PrintList(client, flags.json);
  if (flags.watch) {
    HEADWISE_ASSIGN_OR_RETURN(const v1::SelectionJob job,
                              WatchSelectionJob(client, flags.job));
    Print(job, flags.json);
    return absl::OkStatus();
  }
  HEADWISE_ASSIGN_OR_RETURN(const v1::SelectionJob job,
                            client.GetJob(flags.job));
  Print(job, flags.json);
  return absl::OkStatus();
}

using Change =
    absl::StatusOr<v1::SelectionJob> (SelectionClient::*)(const std::string&);

absl::Status RunChange(const JobFlags& flags, Change change) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  HEADWISE_ASSIGN_OR_RETURN(const v1::SelectionJob job,
                            (session->selection().*change)(flags.job));
  Print(job, flags.json);
  return absl::OkStatus();
}

void AddChange(CLI::App& select, const std::string& name,
               const std::string& help, Change change, CommandRun* run) {
  CLI::App* command = select.add_subcommand(name, help);
  auto flags = std::make_shared<JobFlags>();
  command->add_option("job", flags->job, "Its id, or 8 or more first digits")
      ->required();
  AddServerFlags(*command, flags->cluster);
  command->add_flag("--json", flags->json, "The job as one JSON object");
  command->footer("Example:\n  headwise select " + name +
                  " 0123abcd --server 10.0.0.10:7600");
  command->final_callback([run, flags, change] {
    *run = [flags, change] { return RunChange(*flags, change); };
  });
}

}  // namespace

void AddSelectJobCommands(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "status", "Jobs of a server or of a folder, or one of them");
  auto flags = std::make_shared<JobFlags>();
  command->add_option("job", flags->job,
                      "Its id, or 8 or more first digits; default: all");
  AddServerFlags(*command, flags->cluster);
  CLI::Option* server = command->get_option("--server")->required(false);
  CLI::Option* out =
      command
          ->add_option("--out", flags->out,
                       "Of `select run` without a --server, running or not")
          ->excludes(server);
  CLI::Option* state =
      command
          ->add_option("--selection-state", flags->state,
                       "Folder of the books; default: --out with .state "
                       "behind it")
          ->excludes(server);
  command->add_flag("--watch", flags->watch, "Until the job stops")
      ->needs(server);
  command->add_flag("--json", flags->json, "A JSON object for each job");
  command->parse_complete_callback([server, out, state] {
    if (server->count() + out->count() + state->count() == 0) {
      throw CLI::RequiredError("--server, --out or --selection-state");
    }
  });
  command->footer(
      "Examples:\n"
      "  headwise select status --out scores\n"
      "  headwise select status --server 10.0.0.10:7600\n"
      "  headwise select status 0123abcd --server 10.0.0.10:7600 --watch");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunStatus(*flags); }; });
  AddChange(select, "pause", "Stop a job where it is",
            &SelectionClient::PauseJob, run);
  AddChange(select, "resume", "Let a paused job go on",
            &SelectionClient::ResumeJob, run);
  AddChange(select, "cancel", "End a job; files that are complete stay",
            &SelectionClient::CancelJob, run);
}

}  // namespace headwise
