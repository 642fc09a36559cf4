// Requests of headwise.v1.NeuralMemory for tests.

#ifndef HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_REQUESTS_H_
#define HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_REQUESTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/neural_memory/memory_cluster_fixture.h"

namespace headwise {

// As TestMemoryConfig(num_heads).
inline v1::CreateMemoryRequest CreateRequestOf(int64_t num_heads) {
  v1::CreateMemoryRequest request;
  v1::MemorySpec* spec = request.mutable_config()->mutable_spec();
  spec->set_num_heads(num_heads);
  spec->set_head_dim(16);
  spec->set_norm(v1::MEMORY_NORM_LAYER);
  spec->set_chunk_len(8);
  request.set_seed(7);
  return request;
}

inline v1::WriteMemoryRequest WriteRequestOf(const std::string& memory_id,
                                             int64_t num_heads, int64_t first,
                                             int64_t count) {
  const WriteOf rows(TestMemoryConfig(num_heads), first, count);
  v1::WriteMemoryRequest request;
  request.set_memory_id(memory_id);
  request.set_offset(first);
  request.set_keys(rows.keys);
  request.set_values(rows.values);
  request.set_queries(rows.queries);
  request.set_theta(rows.theta);
  request.set_eta(rows.eta);
  request.set_alpha(rows.alpha);
  request.set_sha256(rows.sha256);
  return request;
}

inline std::vector<v1::MemorySnapshotPart> SnapshotOf(
    v1::NeuralMemory::Stub& stub, const std::string& memory_id,
    std::unique_ptr<grpc::ClientContext> context) {
  v1::SnapshotMemoryRequest request;
  request.set_memory_id(memory_id);
  const auto reader = stub.Snapshot(context.get(), request);
  std::vector<v1::MemorySnapshotPart> parts;
  v1::MemorySnapshotPart part;
  while (reader->Read(&part)) parts.push_back(part);
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return parts;
}

inline grpc::Status RestoreOf(v1::NeuralMemory::Stub& stub,
                              const std::vector<v1::MemorySnapshotPart>& parts,
                              v1::Memory* memory,
                              std::unique_ptr<grpc::ClientContext> context) {
  const auto writer = stub.Restore(context.get(), memory);
  for (const v1::MemorySnapshotPart& part : parts) {
    if (!writer->Write(part)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_REQUESTS_H_
