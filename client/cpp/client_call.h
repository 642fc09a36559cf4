// How clients call: deadlines, statuses, retries.

#ifndef HEADWISE_CLIENT_CPP_CLIENT_CALL_H_
#define HEADWISE_CLIENT_CPP_CLIENT_CALL_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cpp/client.h"
#include "client/cpp/retry_policy.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace headwise {

// `target` as gRPC has it: "host:port". Or "host:port,host:port": coordinators
// of which one leads; names are resolved now, and calls go to the leader, which
// the channel learns from health. Connects with the first call.
std::shared_ptr<grpc::Channel> MakeClientChannel(
    const std::string& target, const TransportSecurity& security);
// `options` for calls to it: where a standby may have to take over, a call that
// meets no leader is tried for as long as a stream is resumed.
ClientOptions OptionsFor(const std::string& target, ClientOptions options);

// With the server's wish of when to come again.
Attempt ToAttempt(const grpc::Status& status);

// Deadline and metadata of one call.
void PrepareCall(const ClientOptions& options, absl::Duration remaining,
                 grpc::ClientContext* context);

template <typename Response, typename Method>
absl::StatusOr<Response> CallUnary(const ClientOptions& options,
                                   Method method) {
  Response response;
  const absl::Status status = CallWithRetry(
      options.retry, options.timeout, [&](absl::Duration remaining) {
        grpc::ClientContext context;
        PrepareCall(options, remaining, &context);
        response.Clear();
        return ToAttempt(method(&context, &response));
      });
  if (!status.ok()) return status;
  return response;
}

// Calls `on_event` for each message; false from it cancels the call. Repeated
// only while no message has come.
template <typename Response, typename Method>
absl::Status CallStream(const ClientOptions& options, Method method,
                        absl::FunctionRef<bool(const Response&)> on_event) {
  return CallWithRetry(options.retry, options.timeout,
                       [&](absl::Duration remaining) {
                         grpc::ClientContext context;
                         PrepareCall(options, remaining, &context);
                         const auto reader = method(&context);
                         Response event;
                         bool seen = false;
                         while (reader->Read(&event)) {
                           seen = true;
                           if (!on_event(event)) {
                             context.TryCancel();
                             break;
                           }
                         }
                         Attempt attempt = ToAttempt(reader->Finish());
                         attempt.may_repeat = !seen;
                         return attempt;
                       });
}

// Writes what `next` makes of a part until it says false. Never repeated. An
// error of `next` cancels the call and is returned.
template <typename Response, typename Part, typename Method>
absl::StatusOr<Response> CallUpload(
    const ClientOptions& options, Method method,
    absl::FunctionRef<absl::StatusOr<bool>(Part*)> next) {
  grpc::ClientContext context;
  PrepareCall(options, options.timeout, &context);
  Response response;
  const auto writer = method(&context, &response);
  Part part;
  absl::StatusOr<bool> has_more = next(&part);
  // Where the server has ended the call, Finish says why.
  while (has_more.ok() && *has_more && writer->Write(part)) {
    part.Clear();
    has_more = next(&part);
  }
  if (has_more.ok()) {
    writer->WritesDone();
  } else {
    context.TryCancel();
  }
  const absl::Status status = ToAttempt(writer->Finish()).status;
  if (!has_more.ok()) return has_more.status();
  if (!status.ok()) return status;
  return response;
}

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_CLIENT_CALL_H_
