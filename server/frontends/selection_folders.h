// Where the selection jobs of a server read and write.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_FOLDERS_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_FOLDERS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

// Jobs are served if none of the three is empty and the bits are exact.
struct SelectionFolders {
  std::string state;                          // --selection-state
  std::map<std::string, std::string> inputs;  // --input-root, by name
  std::string output;                         // --output-root
  bool has_exact_bits = true;                 // not --reduction fast
};

// Of "NAME=FOLDER" texts. InvalidArgument: no such text, a name that is not 1
// to 64 letters, digits, '-', '_', '.', or one that comes twice.
absl::StatusOr<std::map<std::string, std::string>> ParseInputRoots(
    absl::Span<const std::string> texts);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_FOLDERS_H_
