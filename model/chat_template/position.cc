#include "model/chat_template/position.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace headwise::jinja {
namespace {

constexpr char kPlacedUrl[] = "headwise/template_position";

}  // namespace

absl::Status At(const Position& position, const absl::Status& status) {
  if (status.ok() || status.GetPayload(kPlacedUrl).has_value()) return status;
  return WithoutPlace(absl::Status(
      status.code(),
      absl::StrCat("chat template, line ", position.line, ", column ",
                   position.column, ": ", status.message())));
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
