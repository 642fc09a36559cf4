#include "server/frontends/embed_sink.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {

EmbedSink::EmbedSink(const EmbedSinkOptions& options, Done done)
    : options_(options),
      done_(std::move(done)),
      pooled_(static_cast<size_t>(options.model_dim), 0.0) {}

void EmbedSink::OnRows(int64_t first_position, const SliceResult& outcome) {
  const size_t dim = pooled_.size();
  if (first_position != next_position_ || outcome.hidden.size() % dim != 0) {
    error_.Update(absl::InternalError(
        absl::StrCat("rows of position ", first_position, " came where ",
                     next_position_, " was next, with ", outcome.hidden.size(),
                     " values of ", dim, " for each row")));
    return;
  }
  const size_t num_rows = outcome.hidden.size() / dim;
  for (size_t row = 0; row < num_rows; ++row) {
    const float* hidden = outcome.hidden.data() + row * dim;
    if (options_.pool_last) {
      pooled_.assign(hidden, hidden + dim);
      continue;
    }
    for (size_t i = 0; i < dim; ++i) pooled_[i] += hidden[i];
  }
  next_position_ += static_cast<int64_t>(num_rows);
}

absl::StatusOr<std::vector<float>> EmbedSink::TakeResult() {
  if (!error_.ok()) return error_;
  if (next_position_ != options_.num_tokens) {
    return absl::InternalError(absl::StrCat("got ", next_position_, " of ",
                                            options_.num_tokens, " rows"));
  }
  double scale =
      options_.pool_last ? 1.0 : 1.0 / static_cast<double>(options_.num_tokens);
  if (options_.normalize) {
    double sum = 0.0;
    for (const double value : pooled_) sum += value * value;
    scale = sum > 0.0 ? 1.0 / std::sqrt(sum) : 0.0;
  }
  std::vector<float> embedding(pooled_.size());
  for (size_t i = 0; i < pooled_.size(); ++i) {
    embedding[i] = static_cast<float>(pooled_[i] * scale);
  }
  return embedding;
}

void EmbedSink::OnFinished(const absl::Status& status,
                           const RequestUsage& usage) {
  if (!status.ok()) {
    done_(status, usage);
    return;
  }
  done_(TakeResult(), usage);
}

}  // namespace headwise
