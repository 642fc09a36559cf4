#include "model/chat_template/position.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

constexpr char kPlacedUrl[] = "headwise/template_position";

}  // namespace

absl::Status At(const Position& position, const absl::Status& status) {
  if (status.ok() || status.GetPayload(kPlacedUrl).has_value()) return status;
  return WithoutPlace(absl::Status(
      status.code(), absl::StrCat("chat template, line ", position.line,
                                  ", column ", position.column, ": ",
                                  CutText(status.message(), kMaxErrorBytes))));
}

absl::string_view CutText(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = 0;
  while (end + DecodeAt(text, end).num_bytes <= max_bytes) {
    end += DecodeAt(text, end).num_bytes;
  }
  return text.substr(0, end);
}

absl::Status WithoutPlace(absl::Status status) {
  status.SetPayload(kPlacedUrl, absl::Cord());
  return status;
}

absl::Status Unmarked(absl::Status status) {
  status.ErasePayload(kPlacedUrl);
  return status;
}

}  // namespace headwise::jinja
