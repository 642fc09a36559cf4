#include "server/attention/block_shares.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace headwise {
namespace {

int64_t SumOf(const BytesByWorker& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

}  // namespace

BlockShares::BlockShares(BytesByWorker bytes)
    : mutex_(std::make_shared<absl::Mutex>()) {
  absl::MutexLock lock(mutex_.get());
  node_.shared.resize(bytes.size(), 0);
  node_.bytes = std::move(bytes);
}

BlockShares::BlockShares(const BlockShares& origin, BytesByWorker bytes,
                         BytesByWorker shared)
    : mutex_(origin.mutex_) {
  absl::MutexLock lock(mutex_.get());
  node_.bytes = std::move(bytes);
  node_.shared = std::move(shared);
  node_.origin = &const_cast<BlockShares&>(origin).node_;
  node_.origin->forks.push_back(&node_);
}

BlockShares::~BlockShares() {
  absl::MutexLock lock(mutex_.get());
  Node* const origin = node_.origin;
  if (origin != nullptr) {
    origin->forks.erase(
        std::find(origin->forks.begin(), origin->forks.end(), &node_));
  }
  if (node_.forks.empty()) return;
  Node* const heir = *std::max_element(
      node_.forks.begin(), node_.forks.end(), [](const Node* a, const Node* b) {
        return SumOf(a->shared) < SumOf(b->shared);
      });
  for (Node* fork : node_.forks) {
    if (fork == heir) continue;
    fork->origin = heir;
    heir->forks.push_back(fork);
  }
  heir->origin = origin;
  if (origin != nullptr) origin->forks.push_back(heir);
  // Of what was shared, this session's origin still answers for its part.
  for (size_t i = 0; i < heir->shared.size(); ++i) {
    heir->shared[i] = std::min(heir->shared[i], node_.shared[i]);
  }
}

BytesByWorker BlockShares::bytes() const {
  absl::MutexLock lock(mutex_.get());
  BytesByWorker bytes = node_.bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] -= node_.shared[i];
  return bytes;
}

}  // namespace headwise
