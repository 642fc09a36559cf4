#include "worker/sessions/block_pool.h"

#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(BlockPoolTest, ABlockThatWasUsedComesBackAsZeros) {
  BlockPool pool(4096);
  uint8_t* kept = pool.Take();
  uint8_t* block = pool.Take();
  std::fill_n(block, 4096, uint8_t{7});
  pool.RemoveUser(block);
  uint8_t* again = pool.Take();
  EXPECT_EQ(again, block);
  EXPECT_EQ(std::count(again, again + 4096, 0), 4096);
  pool.RemoveUser(again);
  pool.RemoveUser(kept);
}

TEST(BlockPoolTest, ASlabGoesBackWithItsLastBlock) {
  BlockPool pool(BlockPool::kSlabBytes / 3);
  std::vector<uint8_t*> blocks(7);
  for (uint8_t*& block : blocks) block = pool.Take();
  EXPECT_EQ(pool.num_slabs(), 3);
  for (uint8_t* block : blocks) pool.RemoveUser(block);
  EXPECT_EQ(pool.num_slabs(), 0);
  EXPECT_EQ(pool.blocks_in_use(), 0);
}

TEST(BlockPoolTest, ABlockStaysWhileItHasAUser) {
  BlockPool pool(1000);  // does not divide a slab
  uint8_t* block = pool.Take();
  pool.AddUser(block);
  EXPECT_EQ(pool.num_users(block), 2);
  pool.RemoveUser(block);
  EXPECT_EQ(pool.blocks_in_use(), 1);
  EXPECT_NE(pool.Take(), block);
}

}  // namespace
}  // namespace headwise
