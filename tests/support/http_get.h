// A page over HTTP from this machine, for tests.

#ifndef HEADWISE_TESTS_SUPPORT_HTTP_GET_H_
#define HEADWISE_TESTS_SUPPORT_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"

namespace headwise {

// The body of what 127.0.0.1:port answers with status 200. Unavailable with
// what came instead.
absl::StatusOr<std::string> HttpGet(int port, const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_HTTP_GET_H_
