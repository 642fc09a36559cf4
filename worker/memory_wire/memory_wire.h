// The messages of worker.v1.MemoryWorker <-> plain structs. What came from the
// wire may hold anything that its type can; whoever uses it checks it.

#ifndef HEADWISE_WORKER_MEMORY_WIRE_MEMORY_WIRE_H_
#define HEADWISE_WORKER_MEMORY_WIRE_MEMORY_WIRE_H_

#include "absl/status/statusor.h"
#include "headwise/worker/v1/memory_worker.pb.h"
#include "worker/memory_parts/memory_messages.h"

namespace headwise {

void WriteOpenMemory(const OpenMemoryRequest& request,
                     worker::v1::OpenMemoryRequest* out);
// InvalidArgument for an enum that is none.
absl::StatusOr<OpenMemoryRequest> ParseOpenMemory(
    const worker::v1::OpenMemoryRequest& request);

void WriteWriteMemory(const WriteMemoryRequest& request,
                      worker::v1::WriteMemoryRequest* out);
WriteMemoryRequest ParseWriteMemory(
    const worker::v1::WriteMemoryRequest& request);

void WriteWriteResult(const WriteMemoryResult& result,
                      worker::v1::WriteMemoryResponse* out);
WriteMemoryResult ParseWriteResult(
    const worker::v1::WriteMemoryResponse& response);

void WriteReadMemory(const ReadMemoryRequest& request,
                     worker::v1::ReadMemoryRequest* out);
ReadMemoryRequest ParseReadMemory(const worker::v1::ReadMemoryRequest& request);

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_WIRE_MEMORY_WIRE_H_
