#include "model/chat_template/budget.h"

#include "absl/strings/str_cat.h"

namespace headwise::jinja {

absl::Status Budget::Spend(int64_t num_steps) {
  num_steps_ += num_steps;
  if (num_steps_ <= kMaxSteps) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the template takes more than ", kMaxSteps, " evaluation steps"));
}

absl::Status Budget::SpendIteration() {
  if (++num_iterations_ <= kMaxLoopIterations) return Spend(1);
  return absl::ResourceExhaustedError(absl::StrCat(
      "the template takes more than ", kMaxLoopIterations, " loop iterations"));
}

void BoundedText::Append(absl::string_view piece) { AppendRepeated(piece, 1); }

void BoundedText::AppendRepeated(absl::string_view piece, int64_t count) {
  if (full_ || piece.empty() || count <= 0) return;
  const int64_t room = kMaxTextBytes - static_cast<int64_t>(text_.size());
  if (count > room / static_cast<int64_t>(piece.size())) {
    full_ = true;
    return;
  }
  if (piece.size() == 1) {
    text_.append(static_cast<size_t>(count), piece[0]);
    return;
  }
  for (int64_t i = 0; i < count; ++i) text_.append(piece.data(), piece.size());
}

absl::Status BoundedText::Check() const {
  if (!full_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the template makes a text of more than ", kMaxTextBytes, " bytes"));
}

}  // namespace headwise::jinja
