// The folder that a job writes to.

#ifndef HEADWISE_SERVER_SELECTION_JOB_FOLDER_H_
#define HEADWISE_SERVER_SELECTION_JOB_FOLDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/job_manifest.h"

namespace headwise {

class JobFolder {
 public:
  explicit JobFolder(std::string path) : path_(std::move(path)) {}

  // `name` below `root`, made where it isn't there. No link is followed below
  // the root. InvalidArgument (names the field output): no relative name, or
  // one that leads through a link or a file; else the errors of making it.
  static absl::StatusOr<JobFolder> Make(const std::string& root,
                                        const std::string& name);

  const std::string& path() const { return path_; }
  std::string rows_path() const { return path_ + "/rows"; }
  std::string PartPath(int64_t shard) const;

  // Writes the manifest where it isn't there, and makes the folder of the rows.
  // FailedPrecondition: the folder holds another job's manifest, or files and
  // no manifest.
  absl::Status Claim(const JobManifest& manifest, const std::string& writer);

  // Requires that the folder is `id`'s: NotFound, or DataLoss, if it is not.
  absl::StatusOr<JobManifest> ReadManifest(absl::string_view id) const;

  // Makes the folder of the rows, if somebody has removed it.
  absl::Status MakeRows() const;

  // What servers that are gone left half-written.
  absl::Status RemoveLeftovers(
      const std::function<bool(absl::string_view writer)>& is_alive) const;

 private:
  absl::Status CheckIsEmpty() const;

  std::string path_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_FOLDER_H_
