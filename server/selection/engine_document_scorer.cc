#include "server/selection/engine_document_scorer.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/selection/copy_model.h"

namespace headwise {
namespace {

// Enough for steps to be full while documents end and begin; few enough that
// a pause is short.
constexpr int64_t kTextsAtOnce = 48;

absl::Status OutsideRange(const char* field, int64_t value, int64_t min,
                          int64_t max) {
  return absl::InvalidArgumentError(absl::StrCat(
      "scoring.", field, ": ", value, " is outside [", min, ", ", max, "]"));
}

// Of a request that the engine did not take. Of a document only its loss may be
// out of range: that no window fits is not the document's fault.
absl::Status RefusalOf(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    return absl::UnavailableError(status.message());
  }
  if (absl::IsOutOfRange(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat("a window does not fit: ", status.message()));
  }
  return status;
}

// Over the tokens that count of all windows, each a text of its own.
double RepetitionOf(const std::vector<int32_t>& prefix,
                    const std::vector<int32_t>& tokens,
                    const ScoringOptions& scoring) {
  const auto room = static_cast<size_t>(scoring.window) - prefix.size();
  double sum = 0.0;
  int64_t count = 0;
  for (size_t begin = 0; begin < tokens.size(); begin += room) {
    const size_t end = std::min(begin + room, tokens.size());
    std::vector<int32_t> window = prefix;
    window.insert(window.end(), tokens.begin() + static_cast<int64_t>(begin),
                  tokens.begin() + static_cast<int64_t>(end));
    const std::vector<double> copies = CopyProbabilities(window);
    for (size_t i = static_cast<size_t>(scoring.skip_tokens); i < copies.size();
         ++i) {
      sum += copies[i];
      ++count;
    }
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

// A text on its way: window after window.
class RunningDocument : public std::enable_shared_from_this<RunningDocument> {
 public:
  RunningDocument(Engine& engine,
                  std::shared_ptr<const EngineScorerOptions> options,
                  std::vector<int32_t> prefix, std::vector<int32_t> tokens,
                  DocumentScorer::Done done)
      : engine_(engine),
        options_(std::move(options)),
        prefix_(std::move(prefix)),
        tokens_(std::move(tokens)),
        done_(std::move(done)) {}

  // The next window, or the end.
  void GoOn() {
    if (next_ == static_cast<int64_t>(tokens_.size())) {
      done_(std::move(loss_));
      return;
    }
    EngineRequest request;
    request.request_id = "select";
    request.kind = WorkKind::kScore;
    request.plan = options_->plan;
    request.contrast_plan = options_->masked_plan;
    request.is_background = options_->is_background;
    request.prompt = prefix_;
    const int64_t room =
        options_->scoring.window - static_cast<int64_t>(prefix_.size());
    const int64_t end =
        std::min(next_ + room, static_cast<int64_t>(tokens_.size()));
    request.prompt.insert(request.prompt.end(), tokens_.begin() + next_,
                          tokens_.begin() + end);
    next_ = end;
    rows_left_ = static_cast<int64_t>(request.prompt.size());
    if (rows_left_ < 2) return GoOn();  // nothing is predicted
    const absl::StatusOr<uint64_t> id = engine_.Submit(
        std::move(request), std::make_shared<Sink>(shared_from_this()));
    if (!id.ok()) done_(RefusalOf(id.status()));
  }

  void set_truncated() { loss_.is_truncated = true; }
  void set_repetition(double repetition) { loss_.repetition = repetition; }

 private:
  class Sink final : public RequestSink {
   public:
    explicit Sink(std::shared_ptr<RunningDocument> document)
        : document_(std::move(document)) {}
    void OnRows(int64_t first_position, const SliceResult& outcome) override {
      document_->Add(first_position, outcome);
    }
    void OnFinished(const absl::Status& status, const RequestUsage&) override {
      document_->EndWindow(status);
    }

   private:
    const std::shared_ptr<RunningDocument> document_;
  };

  // Row i predicts token i + 1.
  void Add(int64_t first_position, const SliceResult& outcome) {
    const auto num_rows = static_cast<int64_t>(outcome.score_logprobs.size());
    for (int64_t r = 0; r < num_rows; ++r, --rows_left_) {
      const int64_t target = first_position + r + 1;
      if (rows_left_ == 1 || target < options_->scoring.skip_tokens) continue;
      loss_.base -= static_cast<double>(outcome.score_logprobs[r]);
      loss_.masked -= static_cast<double>(outcome.contrast_logprobs[r]);
      ++loss_.num_tokens;
    }
  }

  void EndWindow(absl::Status status) {
    if (status.ok() && rows_left_ != 0) {
      status = absl::InternalError(
          absl::StrCat("a window ended with ", rows_left_, " rows to come"));
    }
    if (status.ok() &&
        !(std::isfinite(loss_.base) && std::isfinite(loss_.masked))) {
      status = absl::OutOfRangeError("a loss is not finite");
    }
    if (!status.ok()) return done_(std::move(status));
    GoOn();
  }

  Engine& engine_;
  const std::shared_ptr<const EngineScorerOptions> options_;
  const std::vector<int32_t> prefix_;
  const std::vector<int32_t> tokens_;
  const DocumentScorer::Done done_;
  int64_t next_ = 0;       // token of the next window
  int64_t rows_left_ = 0;  // of this one
  DocumentLoss loss_;
};

class EngineDocumentScorer final : public DocumentScorer {
 public:
  EngineDocumentScorer(Engine& engine, const Tokenizer& tokenizer,
                       EngineScorerOptions options)
      : engine_(engine),
        tokenizer_(tokenizer),
        options_(
            std::make_shared<const EngineScorerOptions>(std::move(options))),
        prefix_(tokenizer.Encode("", {.add_special = true})) {}

  void Score(std::string text, Done done) override {
    std::vector<int32_t> tokens =
        tokenizer_.Encode(text, {.parse_special = false});
    const auto count = static_cast<int64_t>(tokens.size());
    const int64_t max_tokens = options_->scoring.max_tokens;
    const bool is_truncated = max_tokens > 0 && count > max_tokens;
    if (is_truncated) tokens.resize(static_cast<size_t>(max_tokens));
    // Here and not by the engine's thread: it takes a millisecond or so.
    const double repetition = RepetitionOf(prefix_, tokens, options_->scoring);
    const auto document = std::make_shared<RunningDocument>(
        engine_, options_, prefix_, std::move(tokens), std::move(done));
    document->set_repetition(repetition);
    if (is_truncated) document->set_truncated();
    document->GoOn();
  }

  int64_t num_at_once() const override { return kTextsAtOnce; }

 private:
  Engine& engine_;
  const Tokenizer& tokenizer_;
  const std::shared_ptr<const EngineScorerOptions> options_;
  const std::vector<int32_t> prefix_;  // of every window
};

}  // namespace

absl::StatusOr<ScoringOptions> ResolveScoring(const ScoringOptions& scoring,
                                              int64_t max_context_len) {
  ScoringOptions out = scoring;
  if (out.window == 0) out.window = std::min(max_context_len, kDefaultWindow);
  if (out.window < 2 || out.window > max_context_len) {
    return OutsideRange("window", out.window, 2, max_context_len);
  }
  if (out.max_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "scoring.max_tokens: ", out.max_tokens, " is below 0 (all)"));
  }
  if (out.skip_tokens < 1 || out.skip_tokens >= out.window) {
    return OutsideRange("skip_tokens", out.skip_tokens, 1, out.window - 1);
  }
  return out;
}

absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeEngineDocumentScorer(
    Engine& engine, const Tokenizer& tokenizer,
    const EngineScorerOptions& options) {
  HEADWISE_CHECK(options.masked_plan != nullptr);
  EngineScorerOptions resolved = options;
  HEADWISE_ASSIGN_OR_RETURN(
      resolved.scoring,
      ResolveScoring(options.scoring, options.max_context_len));
  return std::make_unique<EngineDocumentScorer>(engine, tokenizer,
                                                std::move(resolved));
}

}  // namespace headwise
