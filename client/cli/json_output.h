// The JSON that commands print.

#ifndef HEADWISE_CLIENT_CLI_JSON_OUTPUT_H_
#define HEADWISE_CLIENT_CLI_JSON_OUTPUT_H_

#include "headwise/v1/admin.pb.h"
#include "headwise/v1/inference.pb.h"
#include "nlohmann/json.hpp"

namespace headwise {

// One line on stdout, flushed; bytes that are not UTF-8 become U+FFFD. False if
// stdout can't be written.
bool PrintJsonLine(const nlohmann::ordered_json& json);

nlohmann::ordered_json UsageToJson(const v1::Usage& usage);
nlohmann::ordered_json ScoreToJson(const v1::ScoreResponse& score,
                                   bool with_logprobs);
nlohmann::ordered_json HeadMapToJson(const v1::HeadMap& map);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_JSON_OUTPUT_H_
