// The weights of one rank's shard in a device's memory.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_WEIGHTS_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/model.h"
#include "worker/backends/cpu/packed_matrix.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/weight_check.h"
#include "worker/gpu_executor/device_queue.h"

namespace headwise {

// Shapes are those of shard_weights.h; all pointers are the device's.
struct DeviceUnit {
  PackedMatrix query, key, value, output;
  const float* query_bias = nullptr;  // nullptr: none
  const float* key_bias = nullptr;
  const float* value_bias = nullptr;
};
struct DeviceMlpTile {
  int64_t width = 0;
  PackedMatrix gate, up, down;
};
struct DeviceLayer {
  const float* attention_norm = nullptr;
  const float* query_norm = nullptr;  // nullptr: none
  const float* key_norm = nullptr;
  const float* mlp_norm = nullptr;
  std::vector<DeviceUnit> units;
  std::vector<DeviceMlpTile> mlp_tiles;
};

// Packed as for the CPU, byte by byte. Immutable.
class DeviceWeights {
 public:
  // The most bytes of the device that a shard of a model without neural
  // memories takes; errors as PackedShardBytes.
  static absl::StatusOr<int64_t> MaxBytes(const Model& model,
                                          const Shard& shard);

  // Copies all of `packed`, which may go. `queue` outlives the weights.
  // ResourceExhausted of the device; else its error.
  static absl::StatusOr<std::unique_ptr<DeviceWeights>> Upload(
      const Model& model, const ShardWeights& packed, DeviceQueue& queue);
  DeviceWeights(const DeviceWeights&) = delete;

  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const std::vector<PackedMatrix>& vocab_tiles() const { return vocab_tiles_; }
  const float* output_norm() const { return output_norm_; }
  // [rotary_dim / 2], of RopeFrequencies.
  const double* inverse_frequencies() const { return inverse_frequencies_; }

  // As Executor has them; the device's own error, too.
  absl::Status CheckWeights(int64_t max_bytes);
  int64_t bytes() const { return bytes_; }
  int64_t loaded_bytes() const { return loaded_bytes_; }

 private:
  DeviceWeights(const ShardWeights& packed, DeviceQueue& queue);

  absl::Status CopyPieces(const ShardWeights& packed);
  absl::Status CopyFloats(const Model& model, const ShardWeights& packed);
  void CopyLayers(const ShardWeights& packed);
  const float* Put(const std::vector<float>& values, Carver* carver);
  // A matrix of the piece that has `storage`.
  PackedMatrix Moved(const PackedMatrix& matrix,
                     const SharedStorage& storage) const;
  absl::StatusOr<absl::Span<const uint8_t>> ReadBack(const void* piece,
                                                     int64_t offset,
                                                     int64_t num_bytes);

  DeviceQueue& queue_;
  const int64_t bytes_;
  const int64_t loaded_bytes_;
  DeviceMemory matrices_;
  DeviceMemory floats_;
  absl::flat_hash_map<const void*, const uint8_t*> pieces_;  // by PieceStorage
  std::vector<uint8_t> read_back_;
  WeightCheck check_;

  std::vector<DeviceLayer> layers_;
  std::vector<PackedMatrix> vocab_tiles_;
  const float* output_norm_ = nullptr;
  double* inverse_frequencies_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_WEIGHTS_H_
