#include "client/cli/select_folder.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "nlohmann/json.hpp"
#include "server/frontends/selection_parser.h"
#include "server/frontends/selection_writer.h"
#include "server/selection/booked_jobs.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

namespace fs = std::filesystem;

// Fills in what result.json says.
absl::Status ReadResult(const std::string& text, SelectionFolder* folder) {
  try {
    const nlohmann::json result = nlohmann::json::parse(text);
    folder->job_id = result.at("job_id").get<std::string>();
    folder->result_sha256 = result.at("result_sha256").get<std::string>();
    for (const nlohmann::json& part : result.at("parts")) {
      folder->files.push_back(
          absl::StrCat(folder->path, "/", part.at("file").get<std::string>()));
      folder->num_rows.push_back(part.at("rows").get<int64_t>());
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat(
        folder->path, "/result.json can't be read: ", error.what()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SelectionFolder> ReadSelectionFolder(const std::string& path) {
  SelectionFolder folder;
  folder.path = path;
  HEADWISE_ASSIGN_OR_RETURN(
      const std::string manifest,
      ReadText(TextFlags{.file = absl::StrCat(path, "/manifest.json")}));
  HEADWISE_ASSIGN_OR_RETURN(folder.manifest, ParseManifest(manifest));
  const absl::StatusOr<std::string> result =
      ReadText(TextFlags{.file = absl::StrCat(path, "/result.json")});
  if (absl::IsNotFound(result.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has no result.json: the job is not DONE"));
  }
  HEADWISE_RETURN_IF_ERROR(result.status());
  HEADWISE_RETURN_IF_ERROR(ReadResult(*result, &folder));
  if (folder.job_id != JobId(folder.manifest)) {
    return absl::DataLossError(absl::StrCat(
        path, ": manifest.json and result.json are of different jobs"));
  }
  if (folder.files.size() != folder.manifest.shards.size()) {
    return absl::DataLossError(
        absl::StrCat(path, ": result.json has ", folder.files.size(),
                     " parts of ", folder.manifest.shards.size(), " shards"));
  }
  return folder;
}

absl::StatusOr<SelectionFolders> SelectRunFolders(const std::string& out,
                                                  const std::string& state) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(fs::absolute(out, error), error);
  if (error || !real.has_filename()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--out: ", out, " is no name of a folder"));
  }
  SelectionFolders folders;
  folders.output = real.parent_path().string();
  folders.state = state.empty() ? absl::StrCat(real.string(), ".state") : state;
  return folders;
}

absl::StatusOr<std::vector<v1::SelectionJob>> ReadSelectRunJobs(
    const std::string& out, const std::string& state, const std::string& job) {
  SelectionFolders folders;
  folders.state = state;
  if (!out.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(folders, SelectRunFolders(out, state));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<JobStatus> statuses,
                            ReadBookedJobs(folders.state, folders.output, job));
  std::vector<v1::SelectionJob> jobs;
  for (const JobStatus& status : statuses) {
    WriteJob(status, &jobs.emplace_back());
  }
  return jobs;
}

absl::Status FindTopOfFolder(
    const SelectionFolder& folder, const v1::TopKRequest& request,
    const std::string& temp_dir,
    absl::FunctionRef<bool(const v1::TopKResponse::Ranked&)> on_row) {
  HEADWISE_ASSIGN_OR_RETURN(TopOptions options, ParseTopK(request));
  options.temp_dir = temp_dir;
  return FindTopRows(folder.files, options,
                     [&](const TopRow& row) -> absl::Status {
                       v1::TopKResponse::Ranked message;
                       WriteTopRow(row, &message);
                       if (on_row(message)) return absl::OkStatus();
                       return absl::CancelledError("ended by its reader");
                     })
      .status();
}

}  // namespace headwise
