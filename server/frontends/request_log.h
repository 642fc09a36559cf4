// One log line for each request, and the id that joins it to the client's.

#ifndef HEADWISE_SERVER_FRONTENDS_REQUEST_LOG_H_
#define HEADWISE_SERVER_FRONTENDS_REQUEST_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "server/frontends/server_metrics.h"

namespace headwise {

inline constexpr char kRequestIdKey[] = "x-request-id";

// The client's metadata "x-request-id" if it is 1 to 64 letters, digits, '-',
// '_' or '.'; else a new one, unique in this process. Thread-safe.
std::string RequestIdOf(const grpc::CallbackServerContext& context);

// Failures at level info (the client's) or warn (ours); successes at debug.
// `plan`: the first digits of the plan's name; empty: none.
void LogRequest(const std::string& request_id, const std::string& plan,
                const RequestRecord& record, const absl::Status& status);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_REQUEST_LOG_H_
