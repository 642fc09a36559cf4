// Unicode normalization form C.

#ifndef HEADWISE_MODEL_TOKENIZER_NFC_H_
#define HEADWISE_MODEL_TOKENIZER_NFC_H_

#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

// `text` in form C. Bytes that are not UTF-8 stay as they are, where they are.
// O(n log m) for a run of m combining marks, whatever their order. Needs about
// 16 bytes per byte of the longest stretch between two ASCII characters.
std::string NormalizeNfc(absl::string_view text);

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_NFC_H_
