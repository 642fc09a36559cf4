#include "worker/service/file_stamp.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace headwise {
namespace {

// Such a model is several files of one folder.
bool IsOfSafetensors(const std::string& path) {
  return absl::EndsWith(path, ".safetensors") || absl::EndsWith(path, ".json");
}

// The time of the last change of status tells of writes that restore the other
// one. A new mode changes it too: then the model is opened once more for
// nothing.
std::string StampOfFile(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(path, " ", info.st_dev, " ", info.st_ino, " ",
                      info.st_size, " ", info.st_mtim.tv_sec, ".",
                      info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, ".",
                      info.st_ctim.tv_nsec);
}

}  // namespace

std::string FileStamp(const std::string& path) {
  std::error_code error;
  std::filesystem::path folder = path;
  if (!std::filesystem::is_directory(folder, error)) {
    if (!IsOfSafetensors(path)) return StampOfFile(path);
    folder = folder.parent_path();
  }
  std::vector<std::string> stamps;
  for (std::filesystem::directory_iterator it(folder, error), end;
       !error && it != end; it.increment(error)) {
    const std::string file = it->path();
    if (IsOfSafetensors(file)) stamps.push_back(StampOfFile(file));
  }
  std::sort(stamps.begin(), stamps.end());
  return absl::StrJoin(stamps, "\n");
}

}  // namespace headwise
