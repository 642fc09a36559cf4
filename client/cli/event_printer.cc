#include "client/cli/event_printer.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "client/cli/json_output.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

Json TokenToJson(const v1::TokenLogprob& token) {
  return {{"token", token.token()},
          {"logprob", token.logprob()},
          {"text", token.text()}};
}

Json GeneratedToJson(const v1::GeneratedText& generated) {
  Json json = {{"event", "text"}, {"text", generated.text()}};
  Json tokens = Json::array();
  for (int i = 0; i < generated.tokens_size(); ++i) {
    Json token = TokenToJson(generated.tokens(i));
    if (i < generated.top_logprobs_size()) {
      for (const auto& other : generated.top_logprobs(i).alternatives()) {
        token["top_logprobs"].push_back(TokenToJson(other));
      }
    }
    tokens.push_back(std::move(token));
  }
  json["tokens"] = std::move(tokens);
  return json;
}

}  // namespace

Json EventToJson(const v1::GenerateResponse& event) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kPrefill:
      return {{"event", "prefill"},
              {"processed_tokens", event.prefill().processed_tokens()},
              {"total_tokens", event.prefill().total_tokens()}};
    case v1::GenerateResponse::kGenerated:
      return GeneratedToJson(event.generated());
    case v1::GenerateResponse::kFinished:
      return {{"event", "finished"},
              {"reason", event.finished().reason() == v1::FINISH_REASON_STOP
                             ? "stop"
                             : "length"},
              {"usage", UsageToJson(event.finished().usage())}};
    default:
      return {{"event", "unknown"}};
  }
}

std::string Summary(const v1::Usage& usage) {
  const auto rate = [](int64_t num_tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(num_tokens) / seconds : 0.0;
  };
  const int64_t num_new = usage.generated_tokens();
  return absl::StrFormat(
      "waited %.3f s; %d prompt tokens in %.3f s (%.1f/s); %d new tokens in "
      "%.3f s (%.1f/s)",
      usage.queue_seconds(), usage.prompt_tokens(), usage.prefill_seconds(),
      rate(usage.prompt_tokens(), usage.prefill_seconds()), num_new,
      usage.decode_seconds(),
      rate(std::max<int64_t>(num_new - 1, 0), usage.decode_seconds()));
}

bool EventPrinter::Print(const v1::GenerateResponse& event) {
  if (event.has_generated()) text_ += event.generated().text();
  if (event.has_finished()) finished_ = event.finished();
  if (json_) return PrintJsonLine(EventToJson(event));
  if (event.has_prefill()) {
    const auto total = static_cast<double>(event.prefill().total_tokens());
    bar_.Show(static_cast<double>(event.prefill().processed_tokens()) / total);
    return true;
  }
  bar_.Clear();
  const std::string& piece = event.generated().text();
  if (piece.empty()) return true;
  return std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
         std::fflush(stdout) == 0;
}

void EventPrinter::Finish(bool verbose) {
  bar_.Clear();
  if (json_) return;
  if (!text_.empty()) std::fputc('\n', stdout);
  std::fflush(stdout);
  if (!verbose) return;
  std::fprintf(stderr, "%s\n", Summary(finished_.usage()).c_str());
}

}  // namespace headwise
