#include "base/error_facts.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace headwise {
namespace {

constexpr size_t kMaxTextBytes = 256;
constexpr char kReason[] = "headwise.reason";
constexpr char kResourceType[] = "headwise.resource_type";
constexpr char kResourceName[] = "headwise.resource_name";
constexpr char kQuotaSubject[] = "headwise.quota_subject";
constexpr char kRetryAfter[] = "headwise.retry_after";  // milliseconds
constexpr char kLeader[] = "headwise.leader";
constexpr char kNumbers[] = "headwise.numbers";  // "name=1 name=2"

void Put(const char* url, absl::string_view text, absl::Status* status) {
  if (text.empty()) return;
  status->SetPayload(url, absl::Cord(text.substr(0, kMaxTextBytes)));
}

std::string Get(const char* url, const absl::Status& status) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : "";
}

}  // namespace

absl::Status WithFacts(absl::Status status, const ErrorFacts& facts) {
  Put(kReason, facts.reason, &status);
  Put(kResourceType, facts.resource_type, &status);
  Put(kResourceName, facts.resource_name, &status);
  Put(kQuotaSubject, facts.quota_subject, &status);
  if (facts.retry_after > absl::ZeroDuration()) {
    Put(kRetryAfter, absl::StrCat(absl::ToInt64Milliseconds(facts.retry_after)),
        &status);
  }
  std::string numbers;
  for (const auto& [name, value] : facts.numbers) {
    absl::StrAppend(&numbers, numbers.empty() ? "" : " ", name, "=", value);
  }
  Put(kNumbers, numbers, &status);
  Put(kLeader, facts.leader, &status);
  return status;
}

ErrorFacts FactsOf(const absl::Status& status) {
  ErrorFacts facts;
  facts.reason = Get(kReason, status);
  facts.resource_type = Get(kResourceType, status);
  facts.resource_name = Get(kResourceName, status);
  facts.quota_subject = Get(kQuotaSubject, status);
  int64_t retry_ms = 0;
  if (absl::SimpleAtoi(Get(kRetryAfter, status), &retry_ms)) {
    facts.retry_after = absl::Milliseconds(retry_ms);
  }
  facts.leader = Get(kLeader, status);
  const std::string numbers = Get(kNumbers, status);
  for (const absl::string_view number :
       absl::StrSplit(numbers, ' ', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(number, absl::MaxSplits('=', 1));
    int64_t value = 0;
    if (!absl::SimpleAtoi(parts.second, &value)) continue;
    facts.numbers.emplace_back(parts.first, value);
  }
  return facts;
}

}  // namespace headwise
