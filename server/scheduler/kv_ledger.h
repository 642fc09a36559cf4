// How much of each rank's KV is promised to whom.

#ifndef HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_
#define HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_

#include <cstdint>
#include <map>
#include <vector>

namespace headwise {

// Of two [ranks] of bytes; an empty `b` is nothing.
std::vector<int64_t> SumByRank(std::vector<int64_t> a,
                               const std::vector<int64_t>& b);

// Counts bytes by rank. A sequence's full need is reserved before it runs, so a
// running one never lacks room. O(ranks) and O(log sequences).
class KvLedger {
 public:
  // `capacity` [ranks], each >= 0.
  explicit KvLedger(std::vector<int64_t> capacity);

  // Whether so many bytes are free on every rank. `bytes` [ranks], each >= 0.
  bool Fits(const std::vector<int64_t>& bytes) const;
  // Requires Fits, and that the sequence holds nothing.
  void Reserve(uint64_t sequence_id, std::vector<int64_t> bytes);
  // No effect if the sequence holds nothing.
  void Release(uint64_t sequence_id);

  bool Has(uint64_t sequence_id) const {  // something reserved
    return reserved_.contains(sequence_id);
  }
  // What a sequence has reserved, [ranks]; empty if nothing.
  std::vector<int64_t> Reserved(uint64_t sequence_id) const;

  const std::vector<int64_t>& capacity() const { return capacity_; }
  const std::vector<int64_t>& used() const { return used_; }

 private:
  std::vector<int64_t> capacity_;
  std::vector<int64_t> used_;  // [ranks]
  std::map<uint64_t, std::vector<int64_t>> reserved_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_
