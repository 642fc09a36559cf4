// headwise.v1.Attention's messages <-> plain structs.

#ifndef HEADWISE_SERVER_FRONTENDS_ATTENTION_WIRE_H_
#define HEADWISE_SERVER_FRONTENDS_ATTENTION_WIRE_H_

#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "headwise/v1/attention.pb.h"
#include "server/attention/attention_types.h"

namespace headwise {

inline constexpr char kTenantKey[] = "x-headwise-tenant";

// The call's tenant. InvalidArgument if it is longer than 128 bytes, or named
// twice: who would it be?
absl::StatusOr<std::string> TenantOf(
    const grpc::CallbackServerContext& context);

// Of an input_type; unspecified is fp32.
absl::StatusOr<FloatType> ParseFloatType(v1::FloatType type);
v1::FloatType FloatTypeToWire(FloatType type);
// Of a ttl_seconds; 0 is the default.
absl::StatusOr<absl::Duration> ParseTtl(int64_t seconds,
                                        int64_t default_seconds,
                                        int64_t max_seconds);

// Defaults filled in. InvalidArgument names the field; Unimplemented a policy
// that sessions do not have.
absl::StatusOr<AttentionConfig> ParseOpenSession(
    const v1::OpenSessionRequest& request);
void WriteConfig(const AttentionConfig& config, v1::OpenSessionRequest* out);
void WriteSession(const SessionInfo& info, v1::AttentionSession* out);

// Refers to the request's bytes.
absl::StatusOr<AttendQuery> ParseAttend(const v1::AttendRequest& request);
void WriteAnswer(AttendAnswer answer, v1::AttendResponse* out);

// Of SnapshotHeader.format. Changes with the layout of blocks.
inline constexpr int64_t kSnapshotFormat = 1;
SnapshotBlock ParseBlocks(const v1::SnapshotBlocks& blocks);
void WriteBlocks(SnapshotBlock block, v1::SnapshotBlocks* out);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ATTENTION_WIRE_H_
