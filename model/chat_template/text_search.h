// Finding and replacing text, in linear time for any input: the library's find
// takes the product of both lengths at its worst.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_TEXT_SEARCH_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_TEXT_SEARCH_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "model/chat_template/budget.h"

namespace headwise::jinja {

// Byte offset of the first and of the last occurrence, or npos.
size_t FindFirst(absl::string_view text, absl::string_view wanted);
size_t FindLast(absl::string_view text, absl::string_view wanted);

// Python's str.replace: at most `max_count` occurrences from the left; all if
// it is negative. An empty `old_text` stands before every code point and at the
// end.
BoundedText ReplaceAll(absl::string_view text, absl::string_view old_text,
                       absl::string_view new_text, int64_t max_count);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_TEXT_SEARCH_H_
