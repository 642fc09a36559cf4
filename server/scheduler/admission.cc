#include "server/scheduler/admission.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/scheduler/kv_ledger.h"

namespace headwise {
namespace {

int64_t SaturatingBytes(int64_t tokens, int64_t bytes_per_token) {
  int64_t bytes;
  if (__builtin_mul_overflow(tokens, bytes_per_token, &bytes)) {
    return std::numeric_limits<int64_t>::max();
  }
  return bytes;
}

}  // namespace

int64_t NeededTokens(const EngineRequest& request) {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  if (request.kind != WorkKind::kGenerate) return prompt;
  int64_t needed;
  if (__builtin_add_overflow(prompt, request.max_new_tokens, &needed)) {
    return std::numeric_limits<int64_t>::max();
  }
  return needed;
}

absl::Status CheckCanFit(const EngineRequest& request,
                         const EngineOptions& options,
                         int64_t kv_capacity_tokens) {
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError(
        "the prompt has 0 tokens, at least 1 is needed");
  }
  if (request.kind == WorkKind::kGenerate && request.max_new_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", request.max_new_tokens, ", must be 1 or more"));
  }
  const int64_t longest = std::min(options.max_context_len, kv_capacity_tokens);
  const int64_t needed = NeededTokens(request);
  if (needed <= longest) return absl::OkStatus();
  const bool generates = request.kind == WorkKind::kGenerate;
  return absl::OutOfRangeError(absl::StrCat(
      "the request needs a context of ", needed, " tokens (prompt ",
      request.prompt.size(), " + max_new_tokens ",
      generates ? request.max_new_tokens : 0, "), ",
      SaturatingBytes(KvLedger::RoundUp(needed), options.kv_bytes_per_token),
      " bytes of KV; available are ",
      SaturatingBytes(kv_capacity_tokens, options.kv_bytes_per_token),
      " bytes and a context of ", options.max_context_len,
      " tokens; the longest context that fits is ", longest, " tokens"));
}

}  // namespace headwise
