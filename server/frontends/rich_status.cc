#include "server/frontends/rich_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

constexpr absl::string_view kFieldUrl = "headwise.field";

std::string ReplaceIllFormed(absl::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    const auto size = static_cast<size_t>(next.size);
    if (next.state == Utf8State::kValid) {
      valid.append(text.data(), size);
    } else {
      valid += '?';
    }
    text.remove_prefix(size);
  }
  return valid;
}

void AddErrorInfo(absl::StatusCode code, const ErrorFacts& facts,
                  google::rpc::Status* rich) {
  google::rpc::ErrorInfo info;
  info.set_reason(facts.reason.empty() ? absl::StatusCodeToString(code)
                                       : facts.reason);
  info.set_domain("headwise");
  for (const auto& [name, value] : facts.numbers) {
    (*info.mutable_metadata())[name] = absl::StrCat(value);
  }
  if (!facts.leader.empty()) {
    (*info.mutable_metadata())["leader"] = ReplaceIllFormed(facts.leader);
  }
  rich->add_details()->PackFrom(info);
}

void AddResourceInfo(const ErrorFacts& facts, const std::string& message,
                     google::rpc::Status* rich) {
  google::rpc::ResourceInfo info;
  info.set_resource_type(facts.resource_type);
  info.set_resource_name(ReplaceIllFormed(facts.resource_name));
  info.set_description(message);
  rich->add_details()->PackFrom(info);
}

void AddQuotaFailure(const std::string& subject, const std::string& message,
                     google::rpc::Status* rich) {
  google::rpc::QuotaFailure failure;
  auto* violation = failure.add_violations();
  violation->set_subject(ReplaceIllFormed(subject));
  violation->set_description(message);
  rich->add_details()->PackFrom(failure);
}

void AddRetryInfo(absl::Duration delay, google::rpc::Status* rich) {
  google::rpc::RetryInfo info;
  const int64_t seconds = absl::ToInt64Seconds(delay);
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(delay - absl::Seconds(seconds))));
  rich->add_details()->PackFrom(info);
}

void AddFieldViolation(const std::string& field, absl::string_view message,
                       google::rpc::Status* rich) {
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(field);
  violation->set_description(std::string(message));
  rich->add_details()->PackFrom(bad_request);
}

}  // namespace

absl::Status InvalidField(absl::string_view field, absl::string_view problem) {
  absl::Status status =
      absl::InvalidArgumentError(absl::StrCat(field, ": ", problem));
  status.SetPayload(kFieldUrl, absl::Cord(field));
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = ReplaceIllFormed(status.message());
  google::rpc::Status rich;
  rich.set_code(static_cast<int>(status.code()));
  rich.set_message(message);
  const ErrorFacts facts = FactsOf(status);
  AddErrorInfo(status.code(), facts, &rich);
  if (const auto field = status.GetPayload(kFieldUrl); field.has_value()) {
    AddFieldViolation(std::string(*field), message, &rich);
  }
  if (!facts.resource_type.empty()) {
    AddResourceInfo(facts, message, &rich);
  }
  if (!facts.quota_subject.empty()) {
    AddQuotaFailure(facts.quota_subject, message, &rich);
  }
  if (facts.retry_after > absl::ZeroDuration()) {
    AddRetryInfo(facts.retry_after, &rich);
  } else if (status.code() == absl::StatusCode::kResourceExhausted) {
    AddRetryInfo(kRetryWhenExhausted, &rich);
  } else if (status.code() == absl::StatusCode::kUnavailable) {
    AddRetryInfo(kRetryWhenUnavailable, &rich);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      rich.SerializeAsString());
}

}  // namespace headwise
