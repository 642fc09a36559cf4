// Pools the hidden states of an Embed request.

#ifndef HEADWISE_SERVER_FRONTENDS_EMBED_SINK_H_
#define HEADWISE_SERVER_FRONTENDS_EMBED_SINK_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "server/scheduler/engine.h"

namespace headwise {

struct EmbedSinkOptions {
  int64_t num_tokens = 0;  // of the prompt, >= 1
  int64_t model_dim = 0;
  bool pool_last = false;  // else the mean over positions
  bool normalize = false;  // to length 1; a zero vector stays zero
};

// Called by the engine's thread alone. Sums in double, in order of position, so
// the bits do not depend on how the prompt was cut.
class EmbedSink final : public RequestSink {
 public:
  // The embedding is [model_dim].
  using Done = std::function<void(absl::StatusOr<std::vector<float>>,
                                  const RequestUsage&)>;
  EmbedSink(const EmbedSinkOptions& options, Done done);

  void OnRows(int64_t first_position, const SliceResult& outcome) override;
  // Internal if a row is missing.
  void OnFinished(const absl::Status& status,
                  const RequestUsage& usage) override;

 private:
  absl::StatusOr<std::vector<float>> TakeResult();

  const EmbedSinkOptions options_;
  const Done done_;
  int64_t next_position_ = 0;
  absl::Status error_;
  std::vector<double> pooled_;  // [model_dim]
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_EMBED_SINK_H_
