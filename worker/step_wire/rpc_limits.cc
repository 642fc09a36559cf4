#include "worker/step_wire/rpc_limits.h"

#include <string>

namespace headwise {

grpc::Status StatusToWire(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kMaxStatusBytes)));
}

absl::Status StatusFromWire(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  constexpr int kMaxCode = 16;
  if (code < 0 || code > kMaxCode) {
    return absl::UnknownError(status.error_message());
  }
  return absl::Status(static_cast<absl::StatusCode>(code),
                      status.error_message());
}

}  // namespace headwise
