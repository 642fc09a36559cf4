#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/progress_bar.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_folder.h"
#include "client/cli/select_output.h"
#include "client/cli/select_watch.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

namespace fs = std::filesystem;

// The input root of a server inside this process. Part of a job's id, so that
// one folder gives one id wherever it lies.
constexpr char kLocalRoot[] = "input";

struct RunFlags {
  ClusterFlags cluster;
  SelectScoringFlags scoring;
  SelectFieldFlags fields;
  std::string input;  // a folder or a file; at a server: ROOT or ROOT/path
  std::vector<std::string> paths;
  std::string out;
  std::string state;
  int64_t shard_bytes = 0;
  int64_t max_document_bytes = 0;
  bool detach = false;
  bool json = false;
};

absl::StatusOr<fs::path> RealPath(const std::string& flag,
                                  const fs::path& path) {
  std::error_code error;
  fs::path real = fs::weakly_canonical(fs::absolute(path, error), error);
  if (!error) return real;
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", path.string(), ": ", error.message()));
}

// What a job writes must not be what it reads.
bool IsBelow(const fs::path& path, const fs::path& folder) {
  const fs::path relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

// Where a job inside this process reads and writes; puts its names into `spec`.
absl::StatusOr<SelectionFolders> LocalFolders(const RunFlags& flags,
                                              v1::SelectionJobSpec* spec) {
  HEADWISE_ASSIGN_OR_RETURN(fs::path input, RealPath("--input", flags.input));
  HEADWISE_ASSIGN_OR_RETURN(const fs::path out, RealPath("--out", flags.out));
  std::error_code error;
  if (fs::is_regular_file(input, error)) {
    spec->mutable_input()->add_paths(input.filename().string());
    input = input.parent_path();
  } else if (!fs::is_directory(input, error)) {
    return absl::NotFoundError(absl::StrCat("--input: ", flags.input,
                                            " is neither a folder nor a file"));
  }
  const bool reads_all = spec->input().paths().empty() && flags.paths.empty();
  if (!out.has_filename() || (reads_all && IsBelow(out, input))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--out: ", flags.out, " must be a folder outside of --input"));
  }
  spec->mutable_input()->set_root(kLocalRoot);
  spec->set_output(out.filename().string());
  HEADWISE_ASSIGN_OR_RETURN(SelectionFolders folders,
                            SelectRunFolders(flags.out, flags.state));
  folders.inputs[kLocalRoot] = input.string();
  fs::create_directories(folders.output, error);
  if (!error) return folders;
  return absl::UnavailableError(absl::StrCat(
      "--out: cannot make ", folders.output, ": ", error.message()));
}

// ROOT or ROOT/path of a server.
void SetRemoteInput(const RunFlags& flags, v1::SelectionJobSpec* spec) {
  const size_t slash = flags.input.find('/');
  spec->mutable_input()->set_root(flags.input.substr(0, slash));
  if (slash != std::string::npos && slash + 1 < flags.input.size()) {
    spec->mutable_input()->add_paths(flags.input.substr(slash + 1));
  }
  spec->set_output(flags.out);
}

absl::StatusOr<v1::CreateJobRequest> RequestOf(const RunFlags& flags,
                                               SelectionFolders* folders) {
  v1::CreateJobRequest request;
  v1::SelectionJobSpec& spec = *request.mutable_spec();
  HEADWISE_ASSIGN_OR_RETURN(*spec.mutable_masked_plan(),
                            MaskedPlanOf(flags.scoring.plan));
  WriteScoring(flags.scoring, spec.mutable_scoring());
  WriteRanking(flags.scoring, spec.mutable_ranking());
  if (flags.cluster.server.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(*folders, LocalFolders(flags, &spec));
  } else {
    SetRemoteInput(flags, &spec);
  }
  v1::SelectionInput& input = *spec.mutable_input();
  for (const std::string& path : flags.paths) input.add_paths(path);
  input.set_id_field(flags.fields.id);
  input.set_text_field(flags.fields.text);
  input.set_domain_field(flags.fields.domain);
  input.set_domain(flags.fields.default_domain);
  input.set_shard_bytes(flags.shard_bytes);
  input.set_max_document_bytes(flags.max_document_bytes);
  return request;
}

absl::StatusOr<v1::SelectionJob> Create(SelectionClient& client,
                                        const v1::CreateJobRequest& request) {
  ProgressBar bar("hashing");
  HEADWISE_ASSIGN_OR_RETURN(
      v1::SelectionJob job,
      client.CreateJob(request, [&](const v1::InputProgress& input) {
        if (input.total_bytes() > 0) {
          bar.Show(static_cast<double>(input.bytes()) /
                   static_cast<double>(input.total_bytes()));
        }
        return true;
      }));
  if (job.state() != v1::SELECTION_JOB_STATE_PAUSED) return job;
  return client.ResumeJob(job.job_id());
}

absl::Status RunRun(const RunFlags& flags) {
  SelectionFolders folders;
  HEADWISE_ASSIGN_OR_RETURN(const v1::CreateJobRequest request,
                            RequestOf(flags, &folders));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Session> session,
      Session::Open(flags.cluster, RetryOptions(), folders));
  SelectionClient& client = session->selection();
  HEADWISE_ASSIGN_OR_RETURN(v1::SelectionJob job, Create(client, request));
  if (!flags.detach) {
    HEADWISE_ASSIGN_OR_RETURN(job, WatchSelectionJob(client, job.job_id()));
  }
  if (flags.json) {
    PrintJsonLine(SelectionJobToJson(job));
  } else {
    std::fputs(RenderSelectionJob(job).c_str(), stdout);
  }
  if (flags.detach || job.state() == v1::SELECTION_JOB_STATE_DONE) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the job is ", StateName(job.state()), ": ", job.reason(),
                   "; the same command goes on"));
}

void AddInputFlags(CLI::App& command, RunFlags& flags) {
  const std::string group = "Files";
  command
      .add_option("--input", flags.input,
                  "Folder or file; at a --server: the name of an --input-root, "
                  "or NAME/path")
      ->required()
      ->check(Utf8())
      ->group(group);
  command
      .add_option("--paths", flags.paths,
                  "Files and folders below --input; default: all")
      ->delimiter(',')
      ->check(Utf8())
      ->group(group);
  command
      .add_option("--out", flags.out,
                  "Folder of the job's files; at a --server: below its "
                  "--output-root, default: the job's id")
      ->check(Utf8())
      ->group(group);
  command
      .add_option("--selection-state", flags.state,
                  "Folder of the job's books; default: --out with .state "
                  "behind it")
      ->group(group);
  command
      .add_option("--shard-bytes", flags.shard_bytes,
                  "Input of one output file, about; 0: 8 MiB")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--max-document-bytes", flags.max_document_bytes,
                  "Larger documents are not scored; 0: 16 MiB")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddSelectRunCommand(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "run", "Score a corpus, and go on where an earlier run was");
  auto flags = std::make_shared<RunFlags>();
  AddSessionFlags(*command, flags->cluster);
  AddInputFlags(*command, *flags);
  AddSelectScoringFlags(*command, flags->scoring);
  AddSelectFieldFlags(*command, flags->fields);
  CLI::Option* detach = command->add_flag(
      "--detach", flags->detach, "Do not wait for the job (with --server)");
  detach->needs(command->get_option("--server"));
  command->get_option("--selection-state")
      ->excludes(command->get_option("--server"));
  command->add_flag("--json", flags->json, "The job as one JSON object");
  command->parse_complete_callback([command] {
    if (command->count("--server") > 0) return;
    if (command->count("--model") == 0) {
      throw CLI::RequiredError("--model or --server");
    }
    if (command->count("--out") == 0) throw CLI::RequiredError("--out");
  });
  command->footer(
      "Killed or stopped, the same command goes on; the files are the same, "
      "byte for byte,\nwhatever the workers and the steps were. Exit status 0: "
      "the job is DONE.\n\n"
      "Examples:\n"
      "  headwise select run -m M --plan masked.json --input corpus --out "
      "scores\n"
      "  headwise select run -m M --plan masked.json --input web.jsonl.zst "
      "--domain web --out web-scores\n"
      "  headwise select run --server 10.0.0.10:7600 --plan masked.json "
      "--input corpus/web --detach");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunRun(*flags); }; });
}

}  // namespace headwise
