#include "worker/gpu_executor/device_weights.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace headwise {
namespace {

// Calls visit(storage) for each piece that is packed.
template <typename Visit>
void ForEachPiece(const ShardWeights& packed, const Visit& visit) {
  const auto look = [&visit](const SharedStorage& storage) {
    if (storage != nullptr) visit(*storage);
  };
  for (const LayerWeights& layer : packed.layers) {
    look(layer.storage);
    for (const UnitWeights& unit : layer.units) look(unit.storage);
    for (const MlpTileWeights& tile : layer.mlp_tiles) look(tile.storage);
  }
  for (const VocabTileWeights& tile : packed.vocab_tiles) look(tile.storage);
}

// Calls visit(vector) for each vector of floats of the shard, in the order in
// which they lie in the device's memory.
template <typename Visit>
void ForEachVector(const ShardWeights& packed, const Visit& visit) {
  for (const LayerWeights& layer : packed.layers) {
    visit(layer.attention_norm);
    visit(layer.query_norm);
    visit(layer.key_norm);
    visit(layer.mlp_norm);
    for (const UnitWeights& unit : layer.units) {
      visit(unit.query_bias);
      visit(unit.key_bias);
      visit(unit.value_bias);
    }
  }
  visit(packed.output_norm);
}

}  // namespace

absl::StatusOr<int64_t> DeviceWeights::MaxBytes(const Model& model,
                                                const Shard& shard) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t packed,
                            PackedShardBytes(model, shard));
  const Hyperparameters& hyper = model.hyperparameters();
  Carver floats(nullptr);
  for (int64_t layer = 0; layer < hyper.num_layers; ++layer) {
    for (const int64_t n : {hyper.model_dim, hyper.head_dim}) {
      floats.Take<float>(n);
      floats.Take<float>(n);
    }
  }
  for (int64_t unit = 0; unit < shard.num_units(); ++unit) {
    floats.Take<float>(hyper.heads_per_kv_head() * hyper.head_dim);
    floats.Take<float>(hyper.head_dim);
    floats.Take<float>(hyper.head_dim);
  }
  floats.Take<float>(hyper.model_dim);
  floats.Take<double>(hyper.rope.rotary_dim / 2);
  return std::max<int64_t>(packed, 1) + floats.num_bytes();
}

absl::StatusOr<std::unique_ptr<DeviceWeights>> DeviceWeights::Upload(
    const Model& model, const ShardWeights& packed, DeviceQueue& queue) {
  auto weights =
      std::unique_ptr<DeviceWeights>(new DeviceWeights(packed, queue));
  HEADWISE_RETURN_IF_ERROR(weights->CopyPieces(packed));
  HEADWISE_RETURN_IF_ERROR(weights->CopyFloats(model, packed));
  HEADWISE_RETURN_IF_ERROR(queue.status());
  return weights;
}

DeviceWeights::DeviceWeights(const ShardWeights& packed, DeviceQueue& queue)
    : queue_(queue),
      bytes_(packed.bytes),
      loaded_bytes_(packed.loaded_bytes),
      check_(packed,
             [this](const void* piece, int64_t offset, int64_t num_bytes) {
               return ReadBack(piece, offset, num_bytes);
             }) {}

absl::Status DeviceWeights::CopyPieces(const ShardWeights& packed) {
  HEADWISE_ASSIGN_OR_RETURN(
      matrices_, DeviceMemory::Allocate(queue_.device(),
                                        std::max<int64_t>(packed.bytes, 1)));
  uint8_t* at = matrices_.data();
  ForEachPiece(packed, [&](const PieceStorage& piece) {
    queue_.CopyIn(at, piece.content().data(), piece.bytes());
    pieces_[&piece] = at;
    at += piece.bytes();
  });
  return queue_.status();
}

const float* DeviceWeights::Put(const std::vector<float>& values,
                                Carver* carver) {
  if (values.empty()) return nullptr;
  const auto count = static_cast<int64_t>(values.size());
  float* to = carver->Take<float>(count);
  queue_.CopyIn(to, values.data(), count);
  return to;
}

absl::Status DeviceWeights::CopyFloats(const Model& model,
                                       const ShardWeights& packed) {
  const RopeFrequencies rope =
      ComputeRopeFrequencies(model.hyperparameters().rope);
  const auto num_pairs = static_cast<int64_t>(rope.inverse_frequencies.size());
  Carver count(nullptr);
  ForEachVector(packed, [&count](const std::vector<float>& values) {
    if (!values.empty()) {
      count.Take<float>(static_cast<int64_t>(values.size()));
    }
  });
  count.Take<double>(num_pairs);
  HEADWISE_ASSIGN_OR_RETURN(
      floats_, DeviceMemory::Allocate(queue_.device(), count.num_bytes()));
  Carver carver(floats_.data());
  std::vector<const float*> vectors;
  ForEachVector(packed, [&](const std::vector<float>& values) {
    vectors.push_back(Put(values, &carver));
  });
  inverse_frequencies_ = carver.Take<double>(num_pairs);
  queue_.CopyIn(inverse_frequencies_, rope.inverse_frequencies.data(),
                num_pairs);
  CopyLayers(packed);
  auto next = vectors.begin();
  for (DeviceLayer& layer : layers_) {
    layer.attention_norm = *next++;
    layer.query_norm = *next++;
    layer.key_norm = *next++;
    layer.mlp_norm = *next++;
    for (DeviceUnit& unit : layer.units) {
      unit.query_bias = *next++;
      unit.key_bias = *next++;
      unit.value_bias = *next++;
    }
  }
  output_norm_ = *next++;
  return queue_.status();
}

PackedMatrix DeviceWeights::Moved(const PackedMatrix& matrix,
                                  const SharedStorage& storage) const {
  return matrix.At(pieces_.at(storage.get()) +
                   (matrix.data() - storage->content().data()));
}

void DeviceWeights::CopyLayers(const ShardWeights& packed) {
  for (const LayerWeights& layer : packed.layers) {
    DeviceLayer& to = layers_.emplace_back();
    for (const UnitWeights& unit : layer.units) {
      DeviceUnit& of_unit = to.units.emplace_back();
      of_unit.query = Moved(unit.query, unit.storage);
      of_unit.key = Moved(unit.key, unit.storage);
      of_unit.value = Moved(unit.value, unit.storage);
      of_unit.output = Moved(unit.output, unit.storage);
    }
    for (const MlpTileWeights& tile : layer.mlp_tiles) {
      to.mlp_tiles.push_back({tile.width, Moved(tile.gate, tile.storage),
                              Moved(tile.up, tile.storage),
                              Moved(tile.down, tile.storage)});
    }
  }
  for (const VocabTileWeights& tile : packed.vocab_tiles) {
    vocab_tiles_.push_back(Moved(tile.rows, tile.storage));
  }
}

absl::StatusOr<absl::Span<const uint8_t>> DeviceWeights::ReadBack(
    const void* piece, int64_t offset, int64_t num_bytes) {
  read_back_.resize(static_cast<size_t>(num_bytes));
  queue_.CopyOut(read_back_.data(), pieces_.at(piece) + offset, num_bytes);
  if (!queue_.status().ok()) return queue_.status();
  return absl::MakeConstSpan(read_back_);
}

absl::Status DeviceWeights::CheckWeights(int64_t max_bytes) {
  return check_.Check(max_bytes);
}

}  // namespace headwise
