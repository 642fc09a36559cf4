// The folder of a selection job, read as its server does.

#ifndef HEADWISE_CLIENT_CLI_SELECT_FOLDER_H_
#define HEADWISE_CLIENT_CLI_SELECT_FOLDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "headwise/v1/selection.pb.h"
#include "server/frontends/selection_folders.h"
#include "server/selection/job_manifest.h"

namespace headwise {

// Of a job that is DONE.
struct SelectionFolder {
  std::string path;
  std::string job_id;
  std::string result_sha256;
  JobManifest manifest;
  std::vector<std::string> files;  // of rows, by shard
  std::vector<int64_t> num_rows;   // of each
};

// FailedPrecondition: no result.json, so the job is not DONE; DataLoss: files
// that are none of a job.
absl::StatusOr<SelectionFolder> ReadSelectionFolder(const std::string& path);

// Where `headwise select run --out OUT [--selection-state STATE]` writes inside
// its own process; the inputs are not filled in. InvalidArgument: no name of a
// folder.
absl::StatusOr<SelectionFolders> SelectRunFolders(const std::string& out,
                                                  const std::string& state);

// What the books of such a run tell, whether it runs or not: all their jobs, or
// the one of that id. One of `out` and `state` may be empty. NotFound: no books
// there, or no such job.
absl::StatusOr<std::vector<v1::SelectionJob>> ReadSelectRunJobs(
    const std::string& out, const std::string& state, const std::string& job);

// As Selection.TopK, and its errors. `temp_dir`: for sorting. False from
// `on_row` ends it with Cancelled.
absl::Status FindTopOfFolder(
    const SelectionFolder& folder, const v1::TopKRequest& request,
    const std::string& temp_dir,
    absl::FunctionRef<bool(const v1::TopKResponse::Ranked&)> on_row);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_FOLDER_H_
