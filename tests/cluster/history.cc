#include "tests/cluster/history.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "tests/support/metrics_page.h"

namespace headwise {
namespace {

std::string HashOf(const std::string& bytes) {
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())));
}

std::string NameOf(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

// Ended by the caller. Which of the two codes each side says is a matter of
// who looked first.
bool IsCallersEnd(const std::string& code) {
  return code == "CANCELLED" || code == "DEADLINE_EXCEEDED";
}

// The request in a line of its own.
std::string Describe(const HeardAnswer& answer) {
  return absl::StrCat(
      "request ", answer.request_hash.substr(0, 8), " seed ", answer.seed, " (",
      answer.tokens.size(), " tokens, ",
      answer.end.has_value() ? NameOf(answer.end->error_code()) : "no end",
      ")");
}

std::string WhyTokensDiffer(const HeardAnswer& answer,
                            const HeardAnswer& whole) {
  const size_t have = answer.tokens.size();
  if (have > whole.tokens.size()) {
    return absl::StrCat("more than the ", whole.tokens.size(),
                        " tokens of the undisturbed answer");
  }
  for (size_t i = 0; i < have; ++i) {
    if (answer.tokens[i].token == whole.tokens[i].token) continue;
    return absl::StrCat("token ", i, " is ", answer.tokens[i].token,
                        ", undisturbed ", whole.tokens[i].token);
  }
  if (answer.is_whole() &&
      (have != whole.tokens.size() || answer.text != whole.text)) {
    return absl::StrCat("ended as if whole, undisturbed it has ",
                        whole.tokens.size(), " tokens and ", whole.text.size(),
                        " bytes of text");
  }
  if (!absl::StartsWith(whole.text, answer.text)) {
    return "its text is no beginning of the undisturbed one";
  }
  return "";
}

}  // namespace

HeardAnswer History::Generate(v1::Inference::Stub& stub,
                              const v1::GenerateRequest& request,
                              const Asking& asking) {
  HeardAnswer answer;
  answer.request_hash = HashOf(request.SerializeAsString());
  answer.prompt_hash =
      HashOf(absl::StrCat(request.text(), request.tokens().ShortDebugString()));
  answer.seed = request.options().sampling().seed();
  answer.asked_at = Clock::Monotonic().Now();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + asking.timeout));
  const auto stream = stub.Generate(&context, request);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    if (response.has_finished()) ++answer.num_finished;
    if (!response.has_generated()) continue;
    answer.heard_after_end |= answer.num_finished > 0;
    answer.text += response.generated().text();
    for (const v1::TokenLogprob& token : response.generated().tokens()) {
      answer.tokens.push_back({token.token(), Clock::Monotonic().Now()});
      if (asking.on_token) asking.on_token(answer.tokens.size(), context);
    }
  }
  answer.end = stream->Finish();
  answer.ended_at = Clock::Monotonic().Now();
  Add(answer);
  return answer;
}

void History::Add(HeardAnswer answer) {
  absl::MutexLock lock(&mutex_);
  answers_.push_back(std::move(answer));
}

std::vector<HeardAnswer> History::answers() const {
  absl::MutexLock lock(&mutex_);
  return answers_;
}

std::vector<std::string> History::CheckTokens(const History& fault_free) const {
  std::map<std::string, HeardAnswer> whole;
  for (const HeardAnswer& answer : fault_free.answers()) {
    if (answer.is_whole()) whole[answer.request_hash] = answer;
  }
  std::vector<std::string> violations;
  for (const HeardAnswer& answer : answers()) {
    const auto found = whole.find(answer.request_hash);
    const std::string why = found == whole.end()
                                ? "has no undisturbed answer to compare with"
                                : WhyTokensDiffer(answer, found->second);
    if (why.empty()) continue;
    violations.push_back(absl::StrCat("I1: ", Describe(answer), ": ", why));
  }
  return violations;
}

std::vector<std::string> History::CheckEnds() const {
  std::vector<std::string> violations;
  for (const HeardAnswer& answer : answers()) {
    std::string why;
    if (!answer.end.has_value()) {
      why = "has not ended";
    } else if (answer.heard_after_end) {
      why = "went on after it had finished";
    } else if (answer.num_finished != (answer.is_whole() ? 1 : 0)) {
      why = absl::StrCat("has said ", answer.num_finished,
                         " times that it is whole");
    }
    if (why.empty()) continue;
    violations.push_back(absl::StrCat("I2: ", Describe(answer), ": ", why));
  }
  return violations;
}

std::vector<std::string> History::CheckBaseline(const std::string& page) {
  const auto kv = SumOfSeries(page, "headwise_kv_bytes");
  if (kv == 0.0) return {};
  return {absl::StrCat("I4: headwise_kv_bytes is ", kv.value_or(-1))};
}

std::vector<std::string> History::CheckMetrics(const std::string& page) const {
  constexpr char kCallersEnd[] = "ended by the caller";
  std::map<std::string, double> heard, counted;
  double num_tokens = 0.0;
  bool all_whole = true;
  for (const HeardAnswer& answer : answers()) {
    num_tokens += static_cast<double>(answer.tokens.size());
    all_whole &= answer.is_whole();
    if (!answer.end.has_value()) continue;
    const std::string code = NameOf(answer.end->error_code());
    ++heard[IsCallersEnd(code) ? kCallersEnd : code];
  }
  for (int code = 0; code <= grpc::StatusCode::UNAUTHENTICATED; ++code) {
    const std::string name = NameOf(static_cast<grpc::StatusCode>(code));
    const double number =
        SumOfSeries(page, "headwise_requests_total",
                    absl::StrCat("api=\"generate\",code=\"", name, "\""))
            .value_or(0.0);
    if (number > 0.0)
      counted[IsCallersEnd(name) ? kCallersEnd : name] += number;
  }
  std::vector<std::string> violations;
  if (heard != counted) {
    std::string line = "I6: requests heard and counted:";
    for (const auto& [code, number] : heard) {
      absl::StrAppend(&line, " ", code, " ", number, " and ", counted[code],
                      ";");
      counted.erase(code);
    }
    for (const auto& [code, number] : counted) {
      absl::StrAppend(&line, " ", code, " 0 and ", number, ";");
    }
    violations.push_back(line);
  }
  const double generated =
      SumOfSeries(page, "headwise_tokens_total", "kind=\"generated\"")
          .value_or(0.0);
  if (generated < num_tokens || (all_whole && generated > num_tokens)) {
    violations.push_back(
        absl::StrCat("I6: tokens heard ", num_tokens, ", counted ", generated));
  }
  return violations;
}

std::vector<std::string> History::Check(const History& fault_free,
                                        const std::string& page) const {
  std::vector<std::string> all = CheckTokens(fault_free);
  for (const auto& more :
       {CheckEnds(), CheckBaseline(page), CheckMetrics(page)}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

}  // namespace headwise
