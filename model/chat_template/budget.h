// Counts what a rendering has used, and text that may not grow without end.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_BUDGET_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_BUDGET_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/limits.h"

namespace headwise::jinja {

// One per rendering; used by one thread.
class Budget {
 public:
  // ResourceExhausted once kMaxSteps are spent. Requires num_steps >= 0.
  absl::Status Spend(int64_t num_steps);
  // For text that is made or walked through.
  absl::Status SpendBytes(int64_t num_bytes) {
    return Spend(kStepsPerObject + num_bytes / kBytesPerStep);
  }
  absl::Status SpendIteration();

 private:
  int64_t num_steps_ = 0;
  int64_t num_iterations_ = 0;
};

// A string of at most kMaxTextBytes. After an append that would exceed them,
// nothing is appended any more and Check() says so; a loop that appends need
// only look at full() to stop early.
class BoundedText {
 public:
  void Append(absl::string_view piece);
  // `count` < 0 appends nothing.
  void AppendRepeated(absl::string_view piece, int64_t count);
  bool full() const { return full_; }
  // ResourceExhausted if something did not fit.
  absl::Status Check() const;
  const std::string& text() const { return text_; }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
  bool full_ = false;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_BUDGET_H_
