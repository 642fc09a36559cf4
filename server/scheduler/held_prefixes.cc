#include "server/scheduler/held_prefixes.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace headwise {

void HeldPrefixes::Add(uint64_t id, HeldPrefix prefix) {
  const bool is_new = held_
                          .emplace(id, Entry{.prefix = std::move(prefix),
                                             .last_use = ++num_uses_})
                          .second;
  HEADWISE_CHECK(is_new);
}

const HeldPrefix* HeldPrefixes::Find(uint64_t id) const {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second.is_released) return nullptr;
  return &found->second.prefix;
}

std::optional<uint64_t> HeldPrefixes::OriginOf(uint64_t fork_id) const {
  const auto found = forks_.find(fork_id);
  return found == forks_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<uint64_t> HeldPrefixes::ChainOf(uint64_t id) const {
  std::vector<uint64_t> chain;
  for (std::optional<uint64_t> next = id; next.has_value();
       next = OriginOf(*next)) {
    chain.push_back(*next);
  }
  return chain;
}

void HeldPrefixes::SetPlace(uint64_t id, PrefixPlace place,
                            std::vector<int64_t> file_bytes) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  found->second.prefix.place = place;
  found->second.prefix.file_bytes = std::move(file_bytes);
}

int64_t HeldPrefixes::NumIn(PrefixPlace place) const {
  return std::count_if(held_.begin(), held_.end(), [place](const auto& held) {
    return held.second.prefix.place == place;
  });
}

int64_t HeldPrefixes::num_parked() const { return NumIn(PrefixPlace::kFile); }

int64_t HeldPrefixes::num_lost() const { return NumIn(PrefixPlace::kLost); }

bool HeldPrefixes::IsWhole(uint64_t id) const {
  const HeldPrefix& prefix = At(id);
  size_t num_tokens = 0;
  for (const uint64_t link : ChainOf(id)) {
    if (At(link).plan != prefix.plan) return false;
    num_tokens += At(link).tokens.size();
  }
  return static_cast<int64_t>(num_tokens) == prefix.length;
}

bool HeldPrefixes::NeedsOrigin(uint64_t id) const {
  const auto found = held_.find(id);
  if (found == held_.end()) return false;
  const HeldPrefix& prefix = found->second.prefix;
  return prefix.place == PrefixPlace::kLost && !prefix.tokens.empty() &&
         static_cast<int64_t>(prefix.tokens.size()) < prefix.length;
}

std::vector<uint64_t> HeldPrefixes::Evictable(
    const std::function<bool(uint64_t)>& yields) const {
  std::set<uint64_t> stays;
  std::set<uint64_t> wanted;  // something waits for it
  for (const auto& [fork_id, id] : forks_) {
    const auto held = held_.find(fork_id);
    if (held == held_.end()) wanted.insert(id);
    if (held != held_.end() && held->second.is_in_memory()) continue;
    if (!yields(fork_id)) stays.insert(id);
  }
  std::vector<std::tuple<bool, uint64_t, uint64_t>> found;
  // Forks are younger than their origins, which stay or are wanted for them.
  for (auto held = held_.rbegin(); held != held_.rend(); ++held) {
    const auto& [id, entry] = *held;
    const bool may_go = entry.prefix.place == PrefixPlace::kMemory &&
                        (entry.prefix.may_evict || entry.is_released) &&
                        !entry.prefix.tokens.empty();
    const bool must_stay =
        stays.contains(id) || (entry.is_in_memory() && !may_go);
    const bool is_wanted = wanted.contains(id);
    if (const auto origin = OriginOf(id)) {
      if (must_stay) stays.insert(*origin);
      if (is_wanted) wanted.insert(*origin);
    }
    if (must_stay || !entry.is_in_memory()) continue;
    found.emplace_back(is_wanted, entry.last_use, id);
  }
  std::sort(found.begin(), found.end());
  std::vector<uint64_t> ids;
  for (const auto& [is_wanted, use, id] : found) ids.push_back(id);
  return ids;
}

std::vector<uint64_t> HeldPrefixes::InMemoryAfter(uint64_t id) const {
  std::vector<uint64_t> ids;
  for (const auto& [fork_id, origin] : forks_) {
    const auto held = held_.find(fork_id);
    if (origin == id && held != held_.end() && held->second.is_in_memory()) {
      ids.push_back(fork_id);
    }
  }
  return ids;
}

std::vector<int64_t> HeldPrefixes::file_bytes() const {
  std::vector<int64_t> sums;
  for (const auto& [id, entry] : held_) {
    const std::vector<int64_t>& bytes = entry.prefix.file_bytes;
    sums.resize(std::max(sums.size(), bytes.size()));
    for (size_t rank = 0; rank < bytes.size(); ++rank) {
      sums[rank] += bytes[rank];
    }
  }
  return sums;
}

void HeldPrefixes::AddFork(uint64_t fork_id, uint64_t id) {
  ++held_.at(id).num_forks;
  held_.at(id).last_use = ++num_uses_;
  forks_.emplace(fork_id, id);
}

std::optional<GonePrefix> HeldPrefixes::EndFork(uint64_t fork_id) {
  const auto fork = forks_.find(fork_id);
  if (fork == forks_.end()) return std::nullopt;
  const auto found = held_.find(fork->second);
  forks_.erase(fork);
  if (found != held_.end()) found->second.last_use = ++num_uses_;
  HEADWISE_CHECK(found != held_.end() && found->second.num_forks > 0);
  --found->second.num_forks;
  return EraseIfGone(found);
}

std::vector<int32_t> HeldPrefixes::TokensOf(uint64_t id) const {
  if (!IsWhole(id)) return {};
  std::vector<int32_t> tokens;
  const std::vector<uint64_t> chain = ChainOf(id);
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    const std::vector<int32_t>& part = At(*link).tokens;
    tokens.insert(tokens.end(), part.begin(), part.end());
  }
  return tokens;
}

void HeldPrefixes::TakeTokensOfOrigin(uint64_t id) {
  At(id).tokens = TokensOf(id);
}

std::optional<GonePrefix> HeldPrefixes::Release(uint64_t id) {
  const auto found = held_.find(id);
  if (found == held_.end()) return std::nullopt;
  found->second.is_released = true;
  return EraseIfGone(found);
}

std::vector<GonePrefix> HeldPrefixes::ReleaseAll() {
  std::vector<GonePrefix> gone;
  for (const uint64_t id : ids()) {
    if (const auto prefix = Release(id)) gone.push_back(*prefix);
  }
  return gone;
}

void HeldPrefixes::Lose(const std::function<bool(uint64_t)>& lives) {
  for (auto& [id, entry] : held_) {
    entry.prefix.place = PrefixPlace::kLost;
    entry.prefix.file_bytes.clear();
    entry.is_released |= entry.prefix.tokens.empty();
  }
  // Forks are younger than their origins: by the time that a prefix is looked
  // at, those of its forks that are prefixes have been.
  const std::vector<std::pair<uint64_t, uint64_t>> forks(forks_.rbegin(),
                                                         forks_.rend());
  for (const auto& [fork_id, id] : forks) {
    const auto held = held_.find(fork_id);
    if (held == held_.end() ? lives(fork_id) : !EraseIfGone(held)) continue;
    --held_.at(id).num_forks;
    forks_.erase(fork_id);
  }
  for (auto held = held_.begin(); held != held_.end();) {
    EraseIfGone(held++);
  }
}

std::vector<uint64_t> HeldPrefixes::ids() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, entry] : held_) ids.push_back(id);
  return ids;
}

std::optional<GonePrefix> HeldPrefixes::EraseIfGone(
    std::map<uint64_t, Entry>::iterator entry) {
  if (!entry->second.is_released || entry->second.num_forks > 0) {
    return std::nullopt;
  }
  const GonePrefix gone = {entry->first, entry->second.prefix.place};
  held_.erase(entry);
  return gone;
}

}  // namespace headwise
