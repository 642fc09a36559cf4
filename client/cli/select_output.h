// What the commands under `headwise select` print.

#ifndef HEADWISE_CLIENT_CLI_SELECT_OUTPUT_H_
#define HEADWISE_CLIENT_CLI_SELECT_OUTPUT_H_

#include <string>

#include "headwise/v1/selection.pb.h"
#include "nlohmann/json.hpp"

namespace headwise {

// "RUNNING" and so on.
std::string StateName(v1::SelectionJobState state);

// Keys and values of a job's row files.
nlohmann::ordered_json SelectionRowToJson(const v1::SelectionRow& row);

nlohmann::ordered_json SelectionJobToJson(const v1::SelectionJob& job);

// Ends with a newline: what it is, totals, a table of domains, flags.
std::string RenderSelectionJob(const v1::SelectionJob& job);

// One line without an end:
// "[####......]  42 %  12,345 documents  3,210 tokens/s  left 1h2m3s
//  cost web 62 %, code 38 %".
std::string RenderSelectionProgress(const v1::SelectionJob& job);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SELECT_OUTPUT_H_
