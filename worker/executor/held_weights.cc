#include "worker/executor/held_weights.h"

#include "worker/executor/shard_weights.h"

namespace headwise {

HeldWeights::HeldWeights() { Clear(); }

HeldWeights::~HeldWeights() = default;

void HeldWeights::Clear() { weights_ = std::make_unique<ShardWeights>(); }

}  // namespace headwise
