// Text of a hostile file inside an error message: quoted, escaped, short.

#ifndef HEADWISE_MODEL_FILES_QUOTED_H_
#define HEADWISE_MODEL_FILES_QUOTED_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace headwise {

inline constexpr size_t kMaxQuotedBytes = 96;

inline std::string Quoted(absl::string_view text) {
  const bool is_long = text.size() > kMaxQuotedBytes;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedBytes)),
                      is_long ? "...\"" : "\"");
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_QUOTED_H_
