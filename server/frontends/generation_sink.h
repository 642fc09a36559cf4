// Turns the tokens of a generation into the messages of its stream.

#ifndef HEADWISE_SERVER_FRONTENDS_GENERATION_SINK_H_
#define HEADWISE_SERVER_FRONTENDS_GENERATION_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/tokenizer/text_stream.h"
#include "server/frontends/answer_writer.h"
#include "server/frontends/frontend_context.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct GenerationSinkOptions {
  const FrontendContext& frontend;  // must outlive the sink
  Arrival arrival;
  int64_t prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  std::vector<int32_t> stop_tokens = {};  // ascending; end the text
  bool logprobs = false;
  bool is_batch = false;  // no user waits for its tokens: they are not timed
};

// Called by the engine's thread alone.
class GenerationSink final : public RequestSink {
 public:
  // `text` knows the stop strings.
  GenerationSink(GenerationSinkOptions options, TextStream text,
                 std::shared_ptr<AnswerWriter> stream);

  // The first tokens of the answer, which the client has: their text is not
  // told again. To be called before any other. True if they are the whole of
  // it. InvalidArgument if something comes after the token that ends it.
  absl::StatusOr<bool> Skip(const std::vector<int32_t>& received);

  void OnPrefill(int64_t processed_tokens, int64_t total_tokens) override;
  bool OnToken(const SliceResult& outcome) override;
  void OnFinished(const absl::Status& status,
                  const RequestUsage& usage) override;

 private:
  // The text that has become certain with it; sets stopped_.
  std::string AppendText(int32_t token);
  void RecordToken();
  void WriteEnd(const RequestUsage& usage);

  const GenerationSinkOptions options_;
  const std::shared_ptr<AnswerWriter> stream_;
  TextStream text_;
  bool stopped_ = false;  // by a token or a string; else by length
  int64_t num_tokens_ = 0;
  absl::Time last_token_ = absl::InfinitePast();
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_GENERATION_SINK_H_
