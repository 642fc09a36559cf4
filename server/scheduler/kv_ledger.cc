#include "server/scheduler/kv_ledger.h"

#include <cstddef>
#include <utility>

#include "base/check.h"

namespace headwise {

std::vector<int64_t> SumByRank(std::vector<int64_t> a,
                               const std::vector<int64_t>& b) {
  HEADWISE_CHECK(b.empty() || a.size() == b.size());
  for (size_t rank = 0; rank < b.size(); ++rank) a[rank] += b[rank];
  return a;
}

KvLedger::KvLedger(std::vector<int64_t> capacity)
    : capacity_(std::move(capacity)), used_(capacity_.size(), 0) {
  for (const int64_t bytes : capacity_) HEADWISE_CHECK(bytes >= 0);
}

bool KvLedger::Fits(const std::vector<int64_t>& bytes) const {
  HEADWISE_CHECK(bytes.size() == capacity_.size());
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    if (bytes[rank] > capacity_[rank] - used_[rank]) return false;
  }
  return true;
}

void KvLedger::Reserve(uint64_t sequence_id, std::vector<int64_t> bytes) {
  HEADWISE_CHECK(Fits(bytes));
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    HEADWISE_CHECK(bytes[rank] >= 0);
    used_[rank] += bytes[rank];
  }
  const bool is_new = reserved_.emplace(sequence_id, std::move(bytes)).second;
  HEADWISE_CHECK(is_new);
}

void KvLedger::Release(uint64_t sequence_id) {
  const auto found = reserved_.find(sequence_id);
  if (found == reserved_.end()) return;
  for (size_t rank = 0; rank < used_.size(); ++rank) {
    used_[rank] -= found->second[rank];
  }
  reserved_.erase(found);
}

std::vector<int64_t> KvLedger::Reserved(uint64_t sequence_id) const {
  const auto found = reserved_.find(sequence_id);
  return found == reserved_.end() ? std::vector<int64_t>() : found->second;
}

}  // namespace headwise
