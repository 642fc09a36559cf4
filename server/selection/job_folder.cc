#include "server/selection/job_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/selection/durable_file.h"
#include "server/selection/input_root.h"
#include "server/selection/shard_output.h"

namespace headwise {
namespace {

constexpr char kManifestName[] = "manifest.json";
// Of kMaxInputPieces with long names.
constexpr int64_t kMaxManifestBytes = int64_t{1} << 31;
constexpr mode_t kFolderMode = 0755;

std::string Sha256OfText(absl::string_view text) {
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size())));
}

// One folder below `parent`, made where it isn't there.
absl::StatusOr<OwnedFd> Enter(const OwnedFd& parent, const std::string& part,
                              absl::string_view name) {
  if (mkdirat(parent.get(), part.c_str(), kFolderMode) == 0) {
    // So that the entry outlives a loss of power, as the files in it do.
    if (fsync(parent.get()) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("output ", name));
    }
  } else if (errno != EEXIST) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("output: ", name, " can't be made"));
  }
  OwnedFd fd(openat(parent.get(), part.c_str(),
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.get() >= 0) return fd;
  if (errno == ELOOP || errno == ENOTDIR) {
    return absl::InvalidArgumentError(
        absl::StrCat("output: ", name, " leads through a link or a file"));
  }
  return absl::ErrnoToStatus(
      errno, absl::StrCat("output: ", name, " can't be opened"));
}

}  // namespace

absl::StatusOr<JobFolder> JobFolder::Make(const std::string& root,
                                          const std::string& name) {
  HEADWISE_RETURN_IF_ERROR(CheckInputName("output", name));
  OwnedFd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return absl::ErrnoToStatus(errno, root);
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    HEADWISE_ASSIGN_OR_RETURN(fd, Enter(fd, std::string(part), name));
  }
  return JobFolder(absl::StrCat(root, "/", name));
}

std::string JobFolder::PartPath(int64_t shard) const {
  return absl::StrCat(rows_path(), "/", PartName(shard));
}

absl::Status JobFolder::CheckIsEmpty() const {
  DIR* const dir = opendir(path_.c_str());
  if (dir == nullptr) return absl::ErrnoToStatus(errno, path_);
  const auto close_dir = absl::MakeCleanup([dir] { closedir(dir); });
  while (const dirent* entry = readdir(dir)) {
    const absl::string_view name = entry->d_name;
    // A job may have been stopped before its manifest had its name.
    if (absl::StartsWith(name, ".") || name == "rows") continue;
    return absl::FailedPreconditionError(
        absl::StrCat("output: ", path_, " holds ", QuotedInputName(name),
                     " and no manifest of a job"));
  }
  return absl::OkStatus();
}

absl::Status JobFolder::Claim(const JobManifest& manifest,
                              const std::string& writer) {
  const std::string text = ManifestJson(manifest);
  const auto found =
      ReadWholeFile(absl::StrCat(path_, "/", kManifestName), kMaxManifestBytes);
  if (found.ok() && *found == text) return MakeRows();
  if (found.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("output: ", path_, " holds job ", Sha256OfText(*found)));
  }
  if (!absl::IsNotFound(found.status())) return found.status();
  HEADWISE_RETURN_IF_ERROR(CheckIsEmpty());
  HEADWISE_ASSIGN_OR_RETURN(const auto file,
                            DurableFile::Create(path_, kManifestName, writer));
  HEADWISE_RETURN_IF_ERROR(file->Append(text));
  HEADWISE_RETURN_IF_ERROR(file->Commit());
  return MakeRows();
}

absl::Status JobFolder::MakeRows() const {
  const OwnedFd fd(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return absl::ErrnoToStatus(errno, path_);
  return Enter(fd, "rows", path_).status();
}

absl::StatusOr<JobManifest> JobFolder::ReadManifest(
    absl::string_view id) const {
  const std::string path = absl::StrCat(path_, "/", kManifestName);
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            ReadWholeFile(path, kMaxManifestBytes));
  if (Sha256OfText(text) != id) {
    return absl::DataLossError(
        absl::StrCat(path, ": its bytes are not those of job ", id));
  }
  return ParseManifest(text);
}

absl::Status JobFolder::RemoveLeftovers(
    const std::function<bool(absl::string_view writer)>& is_alive) const {
  HEADWISE_RETURN_IF_ERROR(headwise::RemoveLeftovers(path_, is_alive));
  return headwise::RemoveLeftovers(rows_path(), is_alive);
}

}  // namespace headwise
