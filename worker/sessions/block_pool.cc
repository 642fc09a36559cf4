#include "worker/sessions/block_pool.h"

#include <cstring>

#include "base/check.h"

namespace headwise {

void BlockPool::AddSlab() {
  auto slab = std::make_unique<Slab>();
  slab->memory = HugeMemory(kSlabBytes);
  const auto base = reinterpret_cast<uintptr_t>(slab->memory.data());
  HEADWISE_CHECK(base % kSlabBytes == 0);
  const auto count = static_cast<int32_t>(blocks_of_slab());
  slab->num_users.resize(count);
  slab->was_used.resize(count);
  // Taken from the back: the lowest address first.
  for (int32_t i = count - 1; i >= 0; --i) slab->free.push_back(i);
  slabs_.emplace(base, std::move(slab));
  with_free_.insert(base);
}

uint8_t* BlockPool::Take() {
  if (with_free_.empty()) AddSlab();
  const uintptr_t base = *with_free_.begin();
  Slab& slab = *slabs_.at(base);
  const int32_t index = slab.free.back();
  slab.free.pop_back();
  if (slab.free.empty()) with_free_.erase(base);
  slab.num_users[index] = 1;
  ++blocks_in_use_;
  uint8_t* block = slab.memory.data() + index * block_bytes_;
  if (slab.was_used[index]) {
    std::memset(block, 0, static_cast<size_t>(block_bytes_));
  }
  slab.was_used[index] = true;
  return block;
}

BlockPool::Place BlockPool::Find(const uint8_t* block) {
  const auto address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t base = address / kSlabBytes * kSlabBytes;
  return {base, slabs_.at(base).get(),
          static_cast<int64_t>(address - base) / block_bytes_};
}

void BlockPool::AddUser(uint8_t* block) {
  const Place place = Find(block);
  ++place.slab->num_users[place.index];
}

int32_t BlockPool::num_users(const uint8_t* block) {
  const Place place = Find(block);
  return place.slab->num_users[place.index];
}

void BlockPool::RemoveUser(uint8_t* block) {
  const Place place = Find(block);
  HEADWISE_CHECK(place.slab->num_users[place.index] > 0);
  if (--place.slab->num_users[place.index] > 0) return;
  --blocks_in_use_;
  place.slab->free.push_back(static_cast<int32_t>(place.index));
  if (static_cast<int64_t>(place.slab->free.size()) == blocks_of_slab()) {
    with_free_.erase(place.base);
    slabs_.erase(place.base);
  } else {
    with_free_.insert(place.base);
  }
}

}  // namespace headwise
