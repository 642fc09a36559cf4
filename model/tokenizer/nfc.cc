#include "model/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

// No code point has a longer canonical decomposition (Unicode 15, UAX 15, table
// 7: at most 4).
constexpr int kMaxDecomposition = 4;

int CombiningClass(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

void AppendDecomposed(char32_t code_point,
                      std::vector<utf8proc_int32_t>* decomposed) {
  utf8proc_int32_t parts[kMaxDecomposition];
  int last_boundclass = UTF8PROC_BOUNDCLASS_START;
  const auto num_parts = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code_point), parts, kMaxDecomposition,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE),
      &last_boundclass);
  HEADWISE_CHECK(num_parts > 0 && num_parts <= kMaxDecomposition);
  decomposed->insert(decomposed->end(), parts, parts + num_parts);
}

// Canonical order (Unicode 15, definition D109). utf8proc's own exchange sort
// takes quadratic time on a long run of marks; this one n log n.
void SortCombiningMarks(std::vector<utf8proc_int32_t>* code_points) {
  const auto is_mark = [](utf8proc_int32_t c) { return CombiningClass(c) > 0; };
  const auto is_starter = [&](utf8proc_int32_t c) { return !is_mark(c); };
  auto begin = std::find_if(code_points->begin(), code_points->end(), is_mark);
  while (begin != code_points->end()) {
    const auto end = std::find_if(begin, code_points->end(), is_starter);
    std::stable_sort(begin, end, [](auto left, auto right) {
      return CombiningClass(left) < CombiningClass(right);
    });
    begin = std::find_if(end, code_points->end(), is_mark);
  }
}

// Composes what was gathered, appends it to `text` and forgets it.
void Flush(std::vector<utf8proc_int32_t>* decomposed, std::string* text) {
  if (decomposed->empty()) return;
  SortCombiningMarks(decomposed);
  const auto size = utf8proc_normalize_utf32(
      decomposed->data(), static_cast<utf8proc_ssize_t>(decomposed->size()),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    AppendUtf8(static_cast<char32_t>((*decomposed)[i]), text);
  }
  decomposed->clear();
}

}  // namespace

std::string NormalizeNfc(absl::string_view text) {
  std::string normalized;
  normalized.reserve(text.size());
  std::vector<utf8proc_int32_t> decomposed;
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    // Nothing composes with what precedes an ASCII character or a bad byte.
    if (next.code_point < 0x80 || next.state != Utf8State::kValid) {
      Flush(&decomposed, &normalized);
    }
    if (next.state != Utf8State::kValid) {
      normalized.append(text.data(), next.size);
    } else {
      AppendDecomposed(next.code_point, &decomposed);
    }
    text.remove_prefix(next.size);
  }
  Flush(&decomposed, &normalized);
  return normalized;
}

}  // namespace headwise
