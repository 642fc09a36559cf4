// Documents of JSON lines on their way to a stream of Selection, read as a
// job's are.

#ifndef HEADWISE_CLIENT_CLI_SELECT_DOCUMENTS_H_
#define HEADWISE_CLIENT_CLI_SELECT_DOCUMENTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/cli/select_commands.h"
#include "headwise/v1/selection.pb.h"

namespace headwise {

// A line as a document that is sent, or as a row of its own.
struct SelectLine {
  v1::SelectionDocument document;
  bool is_sent = true;
  // That its row has beside the server's, by rising bit of DocumentFlag.
  std::vector<std::string> flags;
};

// `place`: the id of a record that has none.
SelectLine ReadSelectLine(absl::string_view line, const std::string& place,
                          const SelectFieldFlags& fields);

// Of a line that is not sent.
v1::SelectionRow UnsentRow(const SelectLine& line);
// Puts the line's flags into those that the server has told.
void AddLineFlags(const SelectLine& line, v1::SelectionRow* row);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_DOCUMENTS_H_
