// Cuts text into the words within which byte pairs are merged.

#ifndef HEADWISE_MODEL_TOKENIZER_WORD_SCANNER_H_
#define HEADWISE_MODEL_TOKENIZER_WORD_SCANNER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Gives the matches of one of these regular expressions, in order; every
// character of the text belongs to exactly one.
//
//   kGpt2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
//              |\s+(?!\S)|\s+
//   kSmollm    each \p{N} alone, and kGpt2 on each stretch between them
//   kLlamaBpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+
//              |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
//              |\s+(?!\S)|\s+
//   kQwen2     kLlamaBpe with \p{N} in place of \p{N}{1,3}
//
// Categories are those of utf8proc's Unicode version. A byte that is not UTF-8
// counts as U+FFFD, which is in none of the classes. No backtracking: each
// character is read at most four times, so the time is linear. The text must
// outlive the scanner.
class WordScanner {
 public:
  WordScanner(PreTokenizer rule, absl::string_view text);

  // The next word, never empty, or false at the end of the text.
  bool Next(absl::string_view* word);

  // Characters read so far: the scanner's work.
  int64_t num_reads() const { return num_reads_; }

 private:
  enum class CharClass : uint8_t {
    kEnd,
    kLetter,
    kNumber,
    kNewline,  // \r or \n
    kSpace,    // other white space
    kOther,
  };
  struct Char {
    CharClass char_class = CharClass::kEnd;
    int32_t size = 0;  // bytes
  };
  // A stretch of white space.
  struct SpaceRun {
    size_t end = 0;
    size_t last_char = 0;     // where its last character begins
    size_t newlines_end = 0;  // behind its last newline; 0: it has none
  };

  static CharClass ClassOf(char32_t code_point);
  static CharClass LookUpClass(char32_t code_point);

  Char Read(size_t pos);
  size_t EndOfRun(CharClass char_class, size_t pos, int64_t max_chars);
  SpaceRun ReadSpaceRun(size_t pos);
  // Bytes of 's, 't, 're, 've, 'm, 'll or 'd at `pos`; 0: none is there.
  size_t ContractionSize(size_t pos, bool ignore_case) const;
  // Where the word that begins at `pos` ends.
  size_t EndOfGpt2Word(size_t pos);
  size_t EndOfLlamaWord(size_t pos);

  const PreTokenizer rule_;
  const absl::string_view text_;
  size_t pos_ = 0;
  int64_t num_reads_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_WORD_SCANNER_H_
