// Prompts that have run and stay in the caches for others to continue.

#ifndef HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_
#define HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/head_plan/head_plan.h"

namespace headwise {

// kLost: it went with its group or was evicted, and is only here as the tokens
// that it is run of again once something is to begin with it.
enum class PrefixPlace { kMemory, kMoving, kFile, kLost };

struct HeldPrefix {
  int64_t length = 0;  // positions
  std::string tenant;  // whose request it was
  std::shared_ptr<const HeadPlan> plan;
  // The last ones of its positions: after those of its origin, the prefix that
  // it began as a fork of, as long as it has one. Empty: unknown.
  std::vector<int32_t> tokens;
  PrefixPlace place = PrefixPlace::kMemory;
  std::vector<int64_t> file_bytes;  // kFile: by rank
  // Groups that were lost in a row while it was run again.
  int num_losses = 0;
  bool may_evict = false;
};

// One that is no longer held.
struct GonePrefix {
  uint64_t id = 0;
  PrefixPlace place = PrefixPlace::kMemory;  // its last one
};

// A prefix goes once it was released and no fork of it is left: while one runs,
// the blocks that they share are counted as the prefix's.
class HeldPrefixes {
 public:
  void Add(uint64_t id, HeldPrefix prefix);
  // nullptr if none of that id is held, or it was released.
  const HeldPrefix* Find(uint64_t id) const;

  // Also of one that was released, and lives on for its forks. Requires that it
  // does.
  const HeldPrefix& At(uint64_t id) const { return held_.at(id).prefix; }
  HeldPrefix& At(uint64_t id) { return held_.at(id).prefix; }
  bool Has(uint64_t id) const { return held_.contains(id); }

  // What `fork_id` began, or will begin, as a fork of.
  std::optional<uint64_t> OriginOf(uint64_t fork_id) const;
  // The prefix, its origin, and so on: all stay as long as it does.
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
  std::optional<GonePrefix> EndFork(uint64_t fork_id);

  // Those in memory that may be evicted if everything goes that has begun with
  // them and of which `yields`: requests, and prefixes that are run again. They
  // are held by nobody or may_evict, and so is all in memory that began with
  // them. First those that nothing waits for, then by their last use, the
  // oldest first. O(prefixes and forks).
  std::vector<uint64_t> Evictable(
      const std::function<bool(uint64_t fork_id)>& yields) const;

  // Prefixes in memory that began as a fork of it.
  std::vector<uint64_t> InMemoryAfter(uint64_t id) const;

  // All positions of it and its origins are known as tokens under its own plan.
  bool IsWhole(uint64_t id) const;
  // It is lost and can't be run again without its origin.
  bool NeedsOrigin(uint64_t id) const;

  // All of its positions; empty if they are unknown, or some ran under another
  // plan, and so would not make the same KV under its own. O(its length).
  std::vector<int32_t> TokensOf(uint64_t id) const;
  // It will do without its origin, whose tokens become its own: TokensOf.
  void TakeTokensOfOrigin(uint64_t id);

  // No new forks. The prefix, if it goes at once; none also if none is held.
  std::optional<GonePrefix> Release(uint64_t id);
  // Those that go at once.
  std::vector<GonePrefix> ReleaseAll();

  // All memory and files are gone, and all forks have ended of which `lives` is
  // false. Prefixes of unknown tokens take no more forks.
  void Lose(const std::function<bool(uint64_t fork_id)>& lives);

  std::vector<uint64_t> ids() const;

  // In files.
  int64_t num_parked() const;
  int64_t num_lost() const;
  std::vector<int64_t> file_bytes() const;  // by rank; empty: no files
  int64_t num_held() const { return static_cast<int64_t>(held_.size()); }

 private:
  struct Entry {
    HeldPrefix prefix;
    int64_t num_forks = 0;
    bool is_released = false;
    uint64_t last_use = 0;  // by num_uses_

    bool is_in_memory() const {
      return prefix.place == PrefixPlace::kMemory ||
             prefix.place == PrefixPlace::kMoving;
    }
  };

  int64_t NumIn(PrefixPlace place) const;

  std::optional<GonePrefix> EraseIfGone(
      std::map<uint64_t, Entry>::iterator entry);

  uint64_t num_uses_ = 0;
  std::map<uint64_t, Entry> held_;
  std::map<uint64_t, uint64_t> forks_;  // -> prefix
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_HELD_PREFIXES_H_
