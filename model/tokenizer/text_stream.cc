#include "model/tokenizer/text_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    if (next.state != Utf8State::kValid) return false;
    text.remove_prefix(next.size);
  }
  return true;
}

std::vector<int32_t> BordersOf(absl::string_view text) {
  std::vector<int32_t> border(text.size() + 1, 0);
  int32_t matched = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (matched > 0 && text[matched] != text[i]) matched = border[matched];
    if (text[matched] == text[i]) ++matched;
    border[i + 1] = matched;
  }
  return border;
}

}  // namespace

absl::StatusOr<TextStream> TextStream::Create(
    std::vector<std::string> stop_strings) {
  const auto count = static_cast<int64_t>(stop_strings.size());
  if (count > kMaxStopStrings) {
    return absl::InvalidArgumentError(absl::StrCat(
        count, " stop strings, must be at most ", kMaxStopStrings));
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto size = static_cast<int64_t>(stop_strings[i].size());
    if (size < 1 || size > kMaxStopStringBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("stop string ", i, " has ", size,
                       " bytes, must be in [1, ", kMaxStopStringBytes, "]"));
    }
    if (!IsUtf8(stop_strings[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("stop string ", i, " is not valid UTF-8"));
    }
  }
  return TextStream(std::move(stop_strings));
}

TextStream::TextStream(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings) {
    std::vector<int32_t> border = BordersOf(text);
    stop_strings_.push_back({std::move(text), std::move(border), 0});
  }
}

std::string TextStream::Append(absl::string_view token_bytes) {
  if (finished_ || stopped()) return "";
  incomplete_.append(token_bytes.data(), token_bytes.size());
  TakeCharacters(/*at_end=*/false);
  return Release();
}

std::string TextStream::Finish() {
  if (finished_ || stopped()) return "";
  finished_ = true;
  TakeCharacters(/*at_end=*/true);
  // No beginning of a stop string will be completed now.
  for (StopString& stop : stop_strings_) stop.matched = 0;
  return Release();
}

void TextStream::TakeCharacters(bool at_end) {
  absl::string_view rest = incomplete_;
  while (!rest.empty() && !stopped()) {
    const Utf8Char next = DecodeUtf8(rest);
    if (next.state == Utf8State::kIncomplete && !at_end) break;
    std::string character;
    AppendUtf8(next.code_point, &character);
    AppendText(character);
    rest.remove_prefix(next.size);
  }
  incomplete_.erase(0, incomplete_.size() - rest.size());
}

void TextStream::AppendText(absl::string_view text) {
  for (const char byte : text) {
    held_.push_back(byte);
    Advance(byte);
    if (stopped()) {
      held_.resize(held_.size() - stop_strings_[stop_index_].text.size());
      return;
    }
  }
}

void TextStream::Advance(char byte) {
  size_t longest = 0;
  for (size_t i = 0; i < stop_strings_.size(); ++i) {
    StopString& stop = stop_strings_[i];
    while (stop.matched > 0 && stop.text[stop.matched] != byte) {
      stop.matched = stop.border[stop.matched];
    }
    if (stop.text[stop.matched] == byte) ++stop.matched;
    const size_t size = stop.text.size();
    if (static_cast<size_t>(stop.matched) == size && size > longest) {
      longest = size;
      stop_index_ = static_cast<int64_t>(i);
    }
  }
}

std::string TextStream::Release() {
  size_t kept = 0;
  if (!stopped()) {
    for (const StopString& stop : stop_strings_) {
      kept = std::max(kept, static_cast<size_t>(stop.matched));
    }
  }
  std::string released = held_.substr(0, held_.size() - kept);
  held_.erase(0, released.size());
  return released;
}

}  // namespace headwise
