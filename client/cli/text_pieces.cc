#include "client/cli/text_pieces.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"

namespace headwise {
namespace {

bool IsSpace(char c) {
  return absl::ascii_isspace(static_cast<unsigned char>(c));
}

bool BeginsLine(absl::string_view text, size_t at) {
  return text[at - 1] == '\n' && !IsSpace(text[at]);
}

bool BeginsWord(absl::string_view text, size_t at) {
  return text[at] == ' ' && !IsSpace(text[at - 1]) && !IsSpace(text[at + 1]);
}

bool BeginsCharacter(absl::string_view text, size_t at) {
  return (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
}

}  // namespace

size_t CutBeforeTokens(absl::string_view text, size_t max_bytes) {
  for (const auto begins : {BeginsLine, BeginsWord, BeginsCharacter}) {
    for (size_t at = max_bytes; at > 0; --at) {
      if (begins(text, at)) return at;
    }
  }
  return max_bytes;  // not UTF-8, which the caller will say
}

void TextPieces::Fill(size_t num_bytes) {
  const size_t had = ahead_.size();
  if (had >= num_bytes || !in_) return;
  ahead_.resize(num_bytes);
  in_.read(ahead_.data() + had, static_cast<std::streamsize>(num_bytes - had));
  ahead_.resize(had + static_cast<size_t>(in_.gcount()));
}

absl::StatusOr<std::optional<std::string>> TextPieces::Next() {
  Fill(piece_bytes_ + 2);
  if (in_.bad()) {
    return absl::DataLossError(
        absl::StrCat("the text can't be read from byte ", num_bytes_, " on"));
  }
  if (ahead_.empty()) return std::nullopt;
  const size_t size = ahead_.size() < piece_bytes_ + 2
                          ? ahead_.size()
                          : CutBeforeTokens(ahead_, piece_bytes_);
  std::string piece = ahead_.substr(0, size);
  ahead_.erase(0, size);
  HEADWISE_RETURN_IF_ERROR(CheckUtf8(
      num_bytes_ == 0 ? "the text"
                      : absl::StrCat("the text from byte ", num_bytes_, " on"),
      piece));
  num_bytes_ += static_cast<int64_t>(size);
  return piece;
}

}  // namespace headwise
