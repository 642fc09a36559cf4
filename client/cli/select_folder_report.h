// What a page about a selection job shows, from the job's folder.

#ifndef HEADWISE_CLIENT_CLI_SELECT_FOLDER_REPORT_H_
#define HEADWISE_CLIENT_CLI_SELECT_FOLDER_REPORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_folder.h"
#include "client/cli/select_report.h"

namespace headwise {

struct SelectionReportOptions {
  std::string title;
  std::string model;         // what the page calls it; empty: by its SHA-256
  std::string input;         // folder of the job's input; empty: no texts
  SelectRuleFlags rule;      // one is set
  std::string temp_dir;      // for sorting
  int64_t num_examples = 5;  // of each kind, of each domain
};

// Reads all rows twice, and of the input the shards that examples are in.
// Errors: those of FindTopOfFolder; FailedPrecondition: the input has changed.
absl::StatusOr<SelectionReport> MakeSelectionReport(
    const SelectionFolder& folder, const SelectionReportOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_FOLDER_REPORT_H_
