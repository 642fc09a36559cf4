#include "server/frontends/request_log.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

constexpr size_t kMaxRequestIdBytes = 64;

bool IsRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

// The server's own faults; the rest is what clients did or what they may retry.
bool IsServerFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal ||
         code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss ||
         code == absl::StatusCode::kUnavailable;
}

}  // namespace

std::string RequestIdOf(const grpc::CallbackServerContext& context) {
  static std::atomic<uint64_t> next{1};
  const auto found = context.client_metadata().find(kRequestIdKey);
  if (found != context.client_metadata().end()) {
    const absl::string_view id(found->second.data(), found->second.size());
    if (IsRequestId(id)) return std::string(id);
  }
  return absl::StrCat("r", next.fetch_add(1, std::memory_order_relaxed));
}

void LogRequest(const std::string& request_id, const std::string& plan,
                const RequestRecord& record, const absl::Status& status) {
  spdlog::level::level_enum level = spdlog::level::debug;
  if (!status.ok()) {
    level = IsServerFault(status.code()) ? spdlog::level::warn
                                         : spdlog::level::info;
  }
  if (!spdlog::should_log(level)) return;
  spdlog::log(level,
              "request={} api={} plan={} code={} seconds={:.6f} "
              "prompt_tokens={} generated_tokens={} message=\"{}\"",
              request_id, record.api, plan.empty() ? "-" : plan,
              absl::StatusCodeToString(status.code()),
              absl::ToDoubleSeconds(record.latency), record.usage.prompt_tokens,
              record.usage.generated_tokens,
              absl::Utf8SafeCEscape(status.message()));
}

}  // namespace headwise
