// A place in a template, and errors that name it.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace headwise::jinja {

// Both from 1; the column counts code points.
struct Position {
  int line = 1;
  int column = 1;
};

// The first `max_bytes` of a text at most, in whole code points.
absl::string_view CutText(absl::string_view text, size_t max_bytes);

// The status with the place before its message, which is cut to kMaxErrorBytes.
// Unchanged if it is ok or has
// its place already: the innermost one tells most.
absl::Status At(const Position& position, const absl::Status& status);

// Marks a status as one that needs no place.
absl::Status WithoutPlace(absl::Status status);

// Takes the mark off that the two above leave; for the border of this library.
absl::Status Unmarked(absl::Status status);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_
