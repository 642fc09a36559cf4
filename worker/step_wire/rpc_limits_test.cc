#include "worker/step_wire/rpc_limits.h"

#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(StatusWireTest, EveryCodeComesBack) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code),
                              code == 0 ? "" : "why");
    EXPECT_EQ(StatusFromWire(StatusToWire(status)), status) << code;
  }
}

TEST(StatusWireTest, StrangeCodesAreUnknownAndLongMessagesAreCut) {
  const grpc::Status strange(static_cast<grpc::StatusCode>(17), "odd");
  EXPECT_EQ(StatusFromWire(strange), absl::UnknownError("odd"));
  const absl::Status loud = absl::InternalError(std::string(5000, 'x'));
  EXPECT_EQ(StatusToWire(loud).error_message().size(), 4096u);
}

}  // namespace
}  // namespace headwise
