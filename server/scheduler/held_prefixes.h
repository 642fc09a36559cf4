// Prompts that have run and stay in the caches for others to continue.

#ifndef HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_
#define HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "model/head_plan/head_plan.h"

namespace headwise {

enum class PrefixPlace { kMemory, kMoving, kFile };

struct HeldPrefix {
  int64_t length = 0;  // positions
  std::shared_ptr<const HeadPlan> plan;
  PrefixPlace place = PrefixPlace::kMemory;
  std::vector<int64_t> file_bytes;  // kFile: by rank
};

// A prefix goes once it was released and no fork of it is left: while one runs,
// the blocks that they share are counted as the prefix's.
class HeldPrefixes {
 public:
  void Add(uint64_t id, HeldPrefix prefix);
  // nullptr if none of that id is held, or it was released.
  const HeldPrefix* Find(uint64_t id) const;

  // The prefix, the one that it began as a fork of, and so on: all stay as long
  // as it does.
  std::vector<uint64_t> ChainOf(uint64_t id) const;

  // Requires Find(id).
  int64_t num_forks(uint64_t id) const { return held_.at(id).num_forks; }
  // No effect if the prefix is gone; it may have been released.
  void SetPlace(uint64_t id, PrefixPlace place,
                std::vector<int64_t> file_bytes);

  // A request that begins, or will begin, as a fork of `id`. Requires Find(id).
  void AddFork(uint64_t fork_id, uint64_t id);
  // Its share of the caches is free again; the prefix that goes with it, if one
  // does. No effect if it is no fork.
  std::optional<uint64_t> EndFork(uint64_t fork_id);

  // No new forks. True if it goes at once; false also if none is held.
  bool Release(uint64_t id);
  // The ids of those that go at once.
  std::vector<uint64_t> ReleaseAll();

  std::vector<uint64_t> ids() const;

  // In files.
  int64_t num_parked() const;
  std::vector<int64_t> file_bytes() const;  // by rank; empty: no files
  int64_t num_held() const { return static_cast<int64_t>(held_.size()); }

 private:
  struct Entry {
    HeldPrefix prefix;
    int64_t num_forks = 0;
    bool is_released = false;
  };

  bool EraseIfGone(std::map<uint64_t, Entry>::iterator entry);

  std::map<uint64_t, Entry> held_;
  std::map<uint64_t, uint64_t> forks_;  // -> prefix
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_
