#include "server/scheduler/held_prefixes.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace headwise {

void HeldPrefixes::Add(uint64_t id, HeldPrefix prefix) {
  const bool is_new =
      held_.emplace(id, Entry{.prefix = std::move(prefix)}).second;
  HEADWISE_CHECK(is_new);
}

const HeldPrefix* HeldPrefixes::Find(uint64_t id) const {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second.is_released) return nullptr;
  return &found->second.prefix;
}

std::vector<uint64_t> HeldPrefixes::ChainOf(uint64_t id) const {
  std::vector<uint64_t> chain = {id};
  for (auto next = forks_.find(id); next != forks_.end();
       next = forks_.find(next->second)) {
    chain.push_back(next->second);
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

int64_t HeldPrefixes::num_parked() const {
  return std::count_if(held_.begin(), held_.end(), [](const auto& held) {
    return held.second.prefix.place == PrefixPlace::kFile;
  });
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
  forks_.emplace(fork_id, id);
}

std::optional<uint64_t> HeldPrefixes::EndFork(uint64_t fork_id) {
  const auto fork = forks_.find(fork_id);
  if (fork == forks_.end()) return std::nullopt;
  const uint64_t id = fork->second;
  const auto found = held_.find(id);
  forks_.erase(fork);
  HEADWISE_CHECK(found != held_.end() && found->second.num_forks > 0);
  --found->second.num_forks;
  return EraseIfGone(found) ? std::optional(id) : std::nullopt;
}

bool HeldPrefixes::Release(uint64_t id) {
  const auto found = held_.find(id);
  if (found == held_.end()) return false;
  found->second.is_released = true;
  return EraseIfGone(found);
}

std::vector<uint64_t> HeldPrefixes::ReleaseAll() {
  std::vector<uint64_t> gone;
  for (const uint64_t id : ids()) {
    if (Release(id)) gone.push_back(id);
  }
  return gone;
}

std::vector<uint64_t> HeldPrefixes::ids() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, entry] : held_) ids.push_back(id);
  return ids;
}

bool HeldPrefixes::EraseIfGone(std::map<uint64_t, Entry>::iterator entry) {
  if (!entry->second.is_released || entry->second.num_forks > 0) return false;
  held_.erase(entry);
  return true;
}

}  // namespace headwise
