// A place in a template, and errors that name it.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_

#include "absl/status/status.h"

namespace headwise::jinja {

// Both from 1; the column counts code points.
struct Position {
  int line = 1;
  int column = 1;
};

// The status with the place before its message. Unchanged if it is ok or has
// its place already: the innermost one tells most.
absl::Status At(const Position& position, const absl::Status& status);

// Marks a status as one that needs no place.
absl::Status WithoutPlace(absl::Status status);

// Takes the mark off that the two above leave; for the border of this library.
absl::Status Unmarked(absl::Status status);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_POSITION_H_
