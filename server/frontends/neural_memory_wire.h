// headwise.v1.NeuralMemory's messages <-> plain structs.

#ifndef HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_WIRE_H_
#define HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_WIRE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "headwise/v1/neural_memory.pb.h"
#include "server/frontends/served_model.h"
#include "server/neural_memory/memory_snapshot.h"
#include "server/neural_memory/memory_types.h"
#include "server/neural_memory/model_memory.h"

namespace headwise {

// Defaults filled in. InvalidArgument names the field.
absl::StatusOr<MemoryConfig> ParseMemoryConfig(const v1::MemoryConfig& config);
void WriteMemoryConfig(const MemoryConfig& config, v1::MemoryConfig* out);

// The model's heads that a new memory begins with, or nothing if it names no
// model. NotFound for another model than the served one; errors of
// MemoryOfModel.
absl::StatusOr<std::optional<ModelMemory>> ParseModelMemory(
    const v1::CreateMemoryRequest& request, const ServedModel& model);
// As ParseMemoryConfig, with the model's spec and, if there are none, its
// gates.
absl::StatusOr<MemoryConfig> ParseNewMemoryConfig(
    const v1::MemoryConfig& config, const std::optional<ModelMemory>& of_model);
// Refers to the bytes of either.
MemoryStart StartOf(const v1::CreateMemoryRequest& request,
                    const std::optional<ModelMemory>& of_model);
void WriteMemory(const MemoryInfo& info, v1::Memory* out);

// Refers to the request's bytes.
MemoryWrite ParseMemoryWrite(const v1::WriteMemoryRequest& request);
void WriteOutcome(const MemoryWriteOutcome& outcome, bool with_surprise,
                  v1::WriteMemoryResponse* out);
// fp32, little-endian.
std::string FloatsToBytes(const std::vector<float>& floats);

// Of MemorySnapshotHeader.format.
inline constexpr int64_t kMemorySnapshotFormat = 1;

// What a snapshot says of the whole memory.
struct MemorySnapshotInfo {
  MemoryConfig config;
  int64_t num_tokens = 0;
  bool frozen = false;
};
// InvalidArgument for another format; DataLoss if the hash is wrong.
absl::StatusOr<MemorySnapshotInfo> ParseSnapshotHeader(
    const v1::MemorySnapshotHeader& header);
void WriteSnapshotHeader(const MemorySnapshotInfo& info,
                         v1::MemorySnapshotHeader* out);
MemoryPiece ParsePiece(v1::MemorySnapshotPiece& piece);  // takes its bytes
void WritePiece(MemoryPiece piece, v1::MemorySnapshotPiece* out);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_WIRE_H_
