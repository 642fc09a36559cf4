#include "server/selection/input_walk.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/input_shard.h"

namespace headwise {
namespace {

class Walk {
 public:
  explicit Walk(const InputRoot& root) : root_(root) {}

  absl::Status AddPath(std::string path) {
    HEADWISE_ASSIGN_OR_RETURN(const InputRoot::Entry entry, root_.Find(path));
    return Add(std::move(path), entry);
  }

  bool has_folder() const { return !folders_.empty(); }

  // Takes the folder that was found last.
  absl::Status ListFolder() {
    const std::string folder = std::move(folders_.back());
    folders_.pop_back();
    HEADWISE_ASSIGN_OR_RETURN(const auto entries, root_.List(folder));
    for (const InputRoot::FolderEntry& entry : entries) {
      if (entry.name.front() == '.') continue;
      std::string name =
          folder == "." ? entry.name : absl::StrCat(folder, "/", entry.name);
      HEADWISE_ASSIGN_OR_RETURN(const InputRoot::Entry found, root_.Find(name));
      // Such links may lead round in a circle.
      if (entry.is_link && found.type == InputRoot::EntryType::kFolder) {
        return absl::InvalidArgumentError(
            absl::StrCat("input ", QuotedInputName(name),
                         " is a link to a folder: name that folder in paths"));
      }
      HEADWISE_RETURN_IF_ERROR(Add(std::move(name), found));
    }
    return absl::OkStatus();
  }

  std::vector<FoundFile> TakeFiles() {
    const auto less = [](const FoundFile& a, const FoundFile& b) {
      return a.name < b.name;  // by unsigned bytes
    };
    const auto same = [](const FoundFile& a, const FoundFile& b) {
      return a.name == b.name;
    };
    std::sort(files_.begin(), files_.end(), less);
    files_.erase(std::unique(files_.begin(), files_.end(), same), files_.end());
    return std::move(files_);
  }

 private:
  absl::Status Add(std::string name, const InputRoot::Entry& entry) {
    if (files_.size() + folders_.size() == kMaxInputPieces) {
      return absl::ResourceExhaustedError(
          absl::StrCat("input has more than ", kMaxInputPieces,
                       " files: pack them as JSON lines, or name fewer paths"));
    }
    if (entry.type == InputRoot::EntryType::kFolder) {
      folders_.push_back(std::move(name));
    } else {
      files_.push_back({std::move(name), entry.size});
    }
    return absl::OkStatus();
  }

  const InputRoot& root_;
  std::vector<std::string> folders_;  // not listed yet
  std::vector<FoundFile> files_;
};

}  // namespace

absl::StatusOr<std::vector<FoundFile>> FindInputFiles(
    const InputRoot& root, absl::Span<const std::string> paths,
    const std::function<bool()>& go_on) {
  Walk walk(root);
  if (paths.empty()) HEADWISE_RETURN_IF_ERROR(walk.AddPath("."));
  for (const std::string& path : paths) {
    HEADWISE_RETURN_IF_ERROR(walk.AddPath(WithoutLastSlash(path)));
  }
  while (walk.has_folder()) {
    if (!go_on()) return absl::CancelledError("planning was cancelled");
    HEADWISE_RETURN_IF_ERROR(walk.ListFolder());
  }
  return walk.TakeFiles();
}

}  // namespace headwise
