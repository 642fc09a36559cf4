// Small questions with one right answer, for what is measured by the loss of a
// label.

#ifndef HEADWISE_SERVER_CALIBRATION_CHOICE_ITEMS_H_
#define HEADWISE_SERVER_CALIBRATION_CHOICE_ITEMS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/calibration/draws.h"

namespace headwise {

struct ChoiceItem {
  std::string prompt;  // up to where the label begins
  std::string label;   // with its leading space
};

inline constexpr int64_t kMaxChoiceItems = 4096;

// By turns a review whose sentiment is asked for and a question with four
// options; all are drawn.
std::vector<ChoiceItem> DrawChoiceItems(int64_t count, Draws& draws);

// A line for each item: {"prompt": "...", "label": "..."}, both not empty.
// Empty lines are skipped. InvalidArgument names the line; 1 to kMaxChoiceItems
// items.
absl::StatusOr<std::vector<ChoiceItem>> ParseChoiceItems(
    absl::string_view jsonl);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_CHOICE_ITEMS_H_
