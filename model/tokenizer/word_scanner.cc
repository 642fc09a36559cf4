#include "model/tokenizer/word_scanner.h"

#include <utf8proc.h>

#include <array>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

// Unicode's White_Space property.
bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace

WordScanner::WordScanner(PreTokenizer rule, absl::string_view text)
    : rule_(rule), text_(text) {}

bool WordScanner::Next(absl::string_view* word) {
  if (pos_ >= text_.size()) return false;
  const bool like_llama =
      rule_ == PreTokenizer::kLlamaBpe || rule_ == PreTokenizer::kQwen2;
  const size_t end = like_llama ? EndOfLlamaWord(pos_) : EndOfGpt2Word(pos_);
  *word = text_.substr(pos_, end - pos_);
  pos_ = end;
  return true;
}

WordScanner::CharClass WordScanner::ClassOf(char32_t code_point) {
  static const auto* const ascii = [] {
    auto* classes = new std::array<CharClass, 128>;
    for (char32_t c = 0; c < 128; ++c) (*classes)[c] = LookUpClass(c);
    return classes;
  }();
  return code_point < 128 ? (*ascii)[code_point] : LookUpClass(code_point);
}

WordScanner::CharClass WordScanner::LookUpClass(char32_t code_point) {
  if (code_point == '\r' || code_point == '\n') return CharClass::kNewline;
  if (IsWhiteSpace(code_point)) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    default:
      return CharClass::kOther;
  }
}

WordScanner::Char WordScanner::Read(size_t pos) {
  if (pos >= text_.size()) return {};
  ++num_reads_;
  const Utf8Char next = DecodeUtf8(text_.substr(pos));
  return {ClassOf(next.code_point), next.size};
}

// Behind at most `max_chars` characters of that class, from `pos`.
size_t WordScanner::EndOfRun(CharClass char_class, size_t pos,
                             int64_t max_chars) {
  for (int64_t n = 0; n < max_chars; ++n) {
    const Char next = Read(pos);
    if (next.char_class != char_class) break;
    pos += next.size;
  }
  return pos;
}

WordScanner::SpaceRun WordScanner::ReadSpaceRun(size_t pos) {
  SpaceRun run;
  while (true) {
    const Char next = Read(pos);
    const bool newline = next.char_class == CharClass::kNewline;
    if (!newline && next.char_class != CharClass::kSpace) break;
    run.last_char = pos;
    pos += next.size;
    if (newline) run.newlines_end = pos;
  }
  run.end = pos;
  return run;
}

size_t WordScanner::ContractionSize(size_t pos, bool ignore_case) const {
  if (text_[pos] != '\'') return 0;
  const absl::string_view rest = text_.substr(pos + 1, 2);
  // U+017F (long s) folds to "s", so (?i:'s) matches it.
  if (ignore_case && rest == "\xC5\xBF") return 3;
  const auto lower = [&](size_t i) {
    if (i >= rest.size()) return '\0';
    return ignore_case ? absl::ascii_tolower(rest[i]) : rest[i];
  };
  const char first = lower(0);
  const char second = lower(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  return 0;
}

size_t WordScanner::EndOfGpt2Word(size_t pos) {
  if (const size_t size = ContractionSize(pos, /*ignore_case=*/false)) {
    return pos + size;
  }
  const bool digits_alone = rule_ == PreTokenizer::kSmollm;
  Char first = Read(pos);
  if (first.char_class == CharClass::kSpace ||
      first.char_class == CharClass::kNewline) {
    const SpaceRun run = ReadSpaceRun(pos);
    const Char after = Read(run.end);
    // kSmollm has cut the text in front of the number already.
    if (after.char_class == CharClass::kEnd ||
        (digits_alone && after.char_class == CharClass::kNumber)) {
      return run.end;
    }
    if (run.last_char > pos) return run.last_char;  // \s+(?!\S)
    if (text_[pos] != ' ') return run.end;          // a lone tab, say
    pos = run.end;  // the one space that " ?" allows
    first = after;
  }
  const int64_t max_more =
      digits_alone && first.char_class == CharClass::kNumber ? 0 : kAll;
  return EndOfRun(first.char_class, pos + first.size, max_more);
}

size_t WordScanner::EndOfLlamaWord(size_t pos) {
  if (const size_t size = ContractionSize(pos, /*ignore_case=*/true)) {
    return pos + size;
  }
  const Char first = Read(pos);
  const size_t second_pos = pos + first.size;
  if (first.char_class == CharClass::kLetter) {
    return EndOfRun(CharClass::kLetter, second_pos, kAll);
  }
  if (first.char_class == CharClass::kNumber) {
    const int64_t max_more = rule_ == PreTokenizer::kLlamaBpe ? 2 : 0;
    return EndOfRun(CharClass::kNumber, second_pos, max_more);
  }
  const Char second = Read(second_pos);
  if (first.char_class != CharClass::kNewline &&
      second.char_class == CharClass::kLetter) {
    return EndOfRun(CharClass::kLetter, second_pos + second.size, kAll);
  }
  if (first.char_class == CharClass::kOther ||
      (text_[pos] == ' ' && second.char_class == CharClass::kOther)) {
    const size_t end = EndOfRun(CharClass::kOther, second_pos, kAll);
    return EndOfRun(CharClass::kNewline, end, kAll);
  }
  const SpaceRun run = ReadSpaceRun(pos);
  if (run.newlines_end > 0) return run.newlines_end;  // \s*[\r\n]+
  const bool at_end = run.end == text_.size();
  return at_end || run.last_char == pos ? run.end : run.last_char;
}

}  // namespace headwise
