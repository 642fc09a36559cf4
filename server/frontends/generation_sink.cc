#include "server/frontends/generation_sink.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/build_info.h"
#include "server/frontends/response_writer.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

void WriteToken(const Tokenizer& tokenizer, const RankedToken& token,
                v1::TokenLogprob* out) {
  out->set_token(token.token);
  out->set_logprob(token.logprob);
  out->set_text(tokenizer.TokenBytes(token.token));
}

}  // namespace

GenerationSink::GenerationSink(GenerationSinkOptions options, TextStream text,
                               std::shared_ptr<AnswerWriter> stream)
    : options_(std::move(options)),
      stream_(std::move(stream)),
      text_(std::move(text)) {}

void GenerationSink::OnPrefill(int64_t processed_tokens, int64_t total_tokens) {
  v1::GenerateResponse response;
  response.mutable_prefill()->set_processed_tokens(processed_tokens);
  response.mutable_prefill()->set_total_tokens(total_tokens);
  stream_->Write(std::move(response));
}

void GenerationSink::RecordToken() {
  const FrontendContext& frontend = options_.frontend;
  const absl::Time now = frontend.clock.Now();
  const int64_t context_len = options_.prompt_tokens + ++num_tokens_;
  if (options_.is_batch) return;
  if (last_token_ == absl::InfinitePast()) {
    frontend.metrics.RecordFirstToken(context_len, now - options_.arrival.time);
  } else {
    frontend.metrics.RecordTokenGap(context_len, now - last_token_);
  }
  last_token_ = now;
}

std::string GenerationSink::AppendText(int32_t token) {
  const Tokenizer& tokenizer = *options_.frontend.model.tokenizer;
  std::string text;
  // A control token has no text of its own.
  if (!tokenizer.IsSpecial(token)) {
    text = text_.Append(tokenizer.TokenBytes(token));
  }
  stopped_ =
      text_.stopped() || std::binary_search(options_.stop_tokens.begin(),
                                            options_.stop_tokens.end(), token);
  return text;
}

absl::StatusOr<bool> GenerationSink::Skip(
    const std::vector<int32_t>& received) {
  for (const int32_t token : received) {
    if (stopped_) {
      return InvalidField(
          absl::StrCat("received.ids[", num_tokens_, "]"),
          absl::StrCat("is ", token,
                       "; the answer has ended with the one before it"));
    }
    AppendText(token);
    ++num_tokens_;
  }
  return stopped_ || num_tokens_ >= options_.max_new_tokens;
}

bool GenerationSink::OnToken(const SliceResult& outcome) {
  RecordToken();
  const Tokenizer& tokenizer = *options_.frontend.model.tokenizer;
  v1::GenerateResponse response;
  response.set_numerics(OwnBuild().numerics);
  v1::GeneratedText& generated = *response.mutable_generated();
  generated.set_text(AppendText(outcome.token));
  WriteToken(tokenizer,
             {outcome.token, options_.logprobs ? outcome.logprob : 0.0f},
             generated.add_tokens());
  if (!outcome.top.empty()) {
    v1::TopLogprobs& top = *generated.add_top_logprobs();
    for (const RankedToken& token : outcome.top) {
      WriteToken(tokenizer, token, top.add_alternatives());
    }
  }
  stream_->Write(std::move(response));
  return !stopped_;
}

void GenerationSink::WriteEnd(const RequestUsage& usage) {
  // A half of a stop string or of a character that nothing completed.
  if (std::string rest = text_.Finish(); !rest.empty()) {
    v1::GenerateResponse response;
    response.mutable_generated()->set_text(std::move(rest));
    stream_->Write(std::move(response));
  }
  stopped_ = stopped_ || text_.stopped();
  v1::GenerateResponse response;
  response.mutable_finished()->set_reason(stopped_ ? v1::FINISH_REASON_STOP
                                                   : v1::FINISH_REASON_LENGTH);
  WriteUsage(usage, response.mutable_finished()->mutable_usage());
  stream_->Write(std::move(response));
}

void GenerationSink::OnFinished(const absl::Status& status,
                                const RequestUsage& usage) {
  if (status.ok()) WriteEnd(usage);
  EndCall(options_.frontend, options_.arrival, stream_->Close(status), &usage);
}

}  // namespace headwise
