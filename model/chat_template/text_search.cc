#include "model/chat_template/text_search.h"

#include <string.h>

#include <string>

#include "model/chat_template/unicode.h"

namespace headwise::jinja {

size_t FindFirst(absl::string_view text, absl::string_view wanted) {
  if (wanted.empty()) return 0;
  if (wanted.size() > text.size()) return absl::string_view::npos;
  // glibc's memmem is the two-way algorithm: O(text + wanted).
  const void* found =
      memmem(text.data(), text.size(), wanted.data(), wanted.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLast(absl::string_view text, absl::string_view wanted) {
  const std::string text_reversed(text.rbegin(), text.rend());
  const std::string wanted_reversed(wanted.rbegin(), wanted.rend());
  const size_t found = FindFirst(text_reversed, wanted_reversed);
  if (found == absl::string_view::npos) return found;
  return text.size() - found - wanted.size();
}

BoundedText ReplaceAll(absl::string_view text, absl::string_view old_text,
                       absl::string_view new_text, int64_t max_count) {
  BoundedText out;
  int64_t count = 0;
  while (count != max_count && !out.full()) {
    if (old_text.empty()) {
      out.Append(new_text);
      ++count;
      if (text.empty()) break;
      const size_t num_bytes = DecodeAt(text, 0).num_bytes;
      out.Append(text.substr(0, num_bytes));
      text.remove_prefix(num_bytes);
      continue;
    }
    const size_t found = FindFirst(text, old_text);
    if (found == absl::string_view::npos) break;
    out.Append(text.substr(0, found));
    out.Append(new_text);
    text.remove_prefix(found + old_text.size());
    ++count;
  }
  out.Append(text);
  return out;
}

}  // namespace headwise::jinja
