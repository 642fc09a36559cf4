#include "server/frontends/selection_folders.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

constexpr size_t kMaxNameBytes = 64;

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseInputRoots(
    absl::Span<const std::string> texts) {
  std::map<std::string, std::string> roots;
  for (const std::string& text : texts) {
    const size_t end = text.find('=');
    const std::string name = text.substr(0, end);
    if (end == std::string::npos || end + 1 == text.size() || !IsName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--input-root \"", text,
                       "\" must be NAME=FOLDER with a name of 1 to ",
                       kMaxNameBytes, " letters, digits, '-', '_', '.'"));
    }
    if (!roots.emplace(name, text.substr(end + 1)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("--input-root ", name, " is given twice"));
    }
  }
  return roots;
}

}  // namespace headwise
