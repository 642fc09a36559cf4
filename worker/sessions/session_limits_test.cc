// Numbers whose sums and products do not fit into 64 bits.

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"
#include "worker/sessions/session_fixture.h"
#include "worker/sessions/session_store.h"

namespace headwise {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

bool IsRefused(const absl::Status& status) {
  return absl::IsInvalidArgument(status);
}

TEST(SessionLimitsTest, NumbersNearTheLimitsOfTheirTypeAreRefused) {
  const RandomTensor keys(200, 1, 32, 1), values(200, 1, 32, 2);
  const auto stage = [&] {
    return StageOf("s", {{0}}, keys, values, 100, 110);
  };
  StoreUnderTest under_test;
  SessionStore& store = under_test.store;
  ASSERT_TRUE(store
                  .Open({"s",
                         {.num_kv_heads = 1,
                          .heads_per_kv_head = 1,
                          .head_dim = 32,
                          .element = KvElement::kFp16,
                          .max_positions = 20'000},
                         {{0}}})
                  .ok());
  ASSERT_TRUE(store.Stage(StageOf("s", {{0}}, keys, values, 0, 100)).ok());
  ASSERT_TRUE(store.Export("s", {0, 0, 1}, 100).ok());
  for (const int64_t lie : {kMax, kMin, kMax - 1, kMax / 64, kMin / 64}) {
    SCOPED_TRACE(lie);
    EXPECT_TRUE(IsRefused(store.Export("s", {0, lie, 1}, 100).status()));
    EXPECT_TRUE(IsRefused(store.Export("s", {0, 0, lie}, 100).status()));
    EXPECT_TRUE(IsRefused(store.Export("s", {0, lie, lie}, 100).status()));
    EXPECT_TRUE(IsRefused(store.Export("s", {0, 0, 1}, lie).status()));
    EXPECT_TRUE(IsRefused(store.Import("s", {0, lie, 1}, "x")));
    EXPECT_TRUE(IsRefused(store.Import("s", {0, 0, lie}, "x")));
    EXPECT_TRUE(IsRefused(store.Fork("s", "f", lie).status()));
    StageRequest request = stage();
    request.length = lie;
    EXPECT_TRUE(IsRefused(store.Stage(request)));
    request = stage();
    request.pieces[0].first_position = lie;
    EXPECT_TRUE(IsRefused(store.Stage(request)));
    request.pieces[0].num_positions = lie;
    EXPECT_TRUE(IsRefused(store.Stage(request)));
  }
}

}  // namespace
}  // namespace headwise
