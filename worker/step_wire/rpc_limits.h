// What both ends of worker.v1 agree on beside the messages.

#ifndef HEADWISE_WORKER_STEP_WIRE_RPC_LIMITS_H_
#define HEADWISE_WORKER_STEP_WIRE_RPC_LIMITS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace headwise {

// Limits of one message, both ways. A step of 8,192 rows with a score target
// and a token each is 80 kB; a chunk of 512 rows of hidden states of 8,192
// floats is 16 MiB. A shard of 256 layers is below 1 MB.
inline constexpr int kMaxWorkerMessageBytes = 64 << 20;

// Metadata of Run: the decimal membership epoch that the stream belongs to, so
// that a worker knows which group to abort even before the first step.
inline constexpr char kEpochMetadata[] = "headwise-membership-epoch";

// Of a status: HTTP/2 headers carry the message.
inline constexpr size_t kMaxStatusBytes = 4096;

// Codes are the same numbers.
grpc::Status StatusToWire(const absl::Status& status);
absl::Status StatusFromWire(const grpc::Status& status);

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WIRE_RPC_LIMITS_H_
