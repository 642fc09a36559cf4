// Scores of heads as a JSON file.

#ifndef HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_JSON_H_
#define HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_JSON_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/head_scores/head_scores.h"
#include "nlohmann/json.hpp"

namespace headwise {

// Numbers are written so that they are read back equal.
nlohmann::ordered_json HeadScoresToJson(const HeadScores& scores);

// `what` names the text in errors. InvalidArgument names what is missing, of
// another type, unknown, or refused by CheckHeadScores.
absl::StatusOr<HeadScores> ParseHeadScores(absl::string_view what,
                                           absl::string_view text);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_JSON_H_
