#include "worker/executor/weight_check.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/crc32c.h"
#include "base/status_macros.h"
#include "worker/step/step_errors.h"

namespace headwise {

WeightCheck::WeightCheck(const ShardWeights& weights)
    : WeightCheck(
          weights, [](const void* piece, int64_t offset, int64_t num_bytes) {
            return static_cast<const PieceStorage*>(piece)->content().subspan(
                static_cast<size_t>(offset), static_cast<size_t>(num_bytes));
          }) {}

WeightCheck::WeightCheck(const ShardWeights& weights, Reader reader)
    : reader_(std::move(reader)) {
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const LayerWeights& of_layer = weights.layers[layer];
    Add(of_layer.storage, absl::StrCat("layer ", layer));
    for (const UnitWeights& unit : of_layer.units) {
      Add(unit.storage,
          absl::StrCat("layer ", layer, ", KV head ", unit.kv_head));
    }
    for (const MlpTileWeights& tile : of_layer.mlp_tiles) {
      Add(tile.storage,
          absl::StrCat("layer ", layer, ", MLP tile ", tile.index));
    }
  }
  for (const VocabTileWeights& tile : weights.vocab_tiles) {
    Add(tile.storage, absl::StrCat("vocabulary tile ", tile.index));
  }
}

void WeightCheck::Add(const SharedStorage& storage, std::string name) {
  if (storage == nullptr) return;
  pieces_.push_back(
      {storage.get(), storage->bytes(), storage->crc32c(), std::move(name)});
  bytes_ += storage->bytes();
}

absl::Status WeightCheck::Check(int64_t max_bytes) {
  // What was begun is finished, and then all are looked at from their begin.
  int64_t left = max_bytes >= bytes_ ? bytes_ + offset_ : max_bytes;
  absl::Status status;
  while (left > 0 && !pieces_.empty()) {
    const Piece& piece = pieces_[next_];
    const int64_t size = std::min(left, piece.bytes - offset_);
    HEADWISE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> content,
                              reader_(piece.storage, offset_, size));
    crc32c_ = Crc32c(content, crc32c_);
    left -= size;
    offset_ += size;
    if (offset_ < piece.bytes) break;
    if (crc32c_ != piece.crc32c) {
      status.Update(absl::DataLossError(
          absl::StrCat(kWeightsChanged, piece.name, " has CRC-32C ", crc32c_,
                       ", packed were ", piece.crc32c)));
    }
    next_ = (next_ + 1) % pieces_.size();
    offset_ = 0;
    crc32c_ = 0;
  }
  return status;
}

}  // namespace headwise
