// absl::Status to grpc::Status, with google.rpc details for programs to read.

#ifndef HEADWISE_SERVER_FRONTENDS_RICH_STATUS_H_
#define HEADWISE_SERVER_FRONTENDS_RICH_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace headwise {

// When a client should come again, where nothing better is known. A queue
// drains within about a second; a group of workers takes longer to form.
inline constexpr absl::Duration kRetryWhenExhausted = absl::Seconds(1);
inline constexpr absl::Duration kRetryWhenUnavailable = absl::Seconds(2);

// InvalidArgument about one field of a request: "<field>: <problem>". The field
// travels in the status and becomes a BadRequest detail.
absl::Status InvalidField(absl::string_view field, absl::string_view problem);

// Code and message unchanged, but for bytes that are not UTF-8, as a text that
// was cut may end with: '?' stands for them, since clients can't parse details
// that hold them. Details: ErrorInfo always (domain "headwise"; reason that of
// WithFacts, else the code's name; metadata its numbers); BadRequest for
// InvalidField's; RetryInfo for ResourceExhausted, Unavailable and where
// WithFacts has a time; ResourceInfo and QuotaFailure where WithFacts
// (base/error_facts.h) names them.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_RICH_STATUS_H_
