// What a job needs of the model.

#ifndef HEADWISE_SERVER_SELECTION_DOCUMENT_SCORER_H_
#define HEADWISE_SERVER_SELECTION_DOCUMENT_SCORER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "server/selection/document.h"

namespace headwise {

// How texts become losses. Part of a job's manifest.
struct ScoringOptions {
  // Tokens of a window, special ones included; at most the model's context. A
  // longer text is scored in windows that do not overlap, and each begins as a
  // text of its own.
  int64_t window = 0;  // 0: the model's context, at most 2,048
  // Tokens of a document that are looked at; 0: all.
  int64_t max_tokens = 0;
  // Tokens at the begin of each window whose loss does not count. The first one
  // never counts: nothing predicts it.
  int64_t skip_tokens = 1;
};

// Thread-safe.
class DocumentScorer {
 public:
  virtual ~DocumentScorer() = default;

  using Done = std::function<void(absl::StatusOr<DocumentLoss>)>;

  // Scores valid UTF-8. `done` is called once, perhaps before this returns and
  // perhaps by another thread; it must not block. The bits depend on the text,
  // the model, the plans and the options alone. Errors: Unavailable (the group
  // was lost: score it again later), Cancelled, OutOfRange (a value was not
  // finite), others.
  virtual void Score(std::string text, Done done) = 0;

  // Texts that should be under way at one time, so that steps are full; more
  // wait in memory.
  virtual int64_t num_at_once() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DOCUMENT_SCORER_H_
