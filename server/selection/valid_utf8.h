// Whether bytes are UTF-8, and what to write where they are not.

#ifndef HEADWISE_SERVER_SELECTION_VALID_UTF8_H_
#define HEADWISE_SERVER_SELECTION_VALID_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

// Overlong forms, surrogates and code points above U+10FFFF are invalid.
bool IsValidUtf8(absl::string_view text);

// `text` with `replacement` for each bad sequence (model/tokenizer/utf8.h says
// how long one is).
std::string MendUtf8(absl::string_view text, absl::string_view replacement);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_VALID_UTF8_H_
