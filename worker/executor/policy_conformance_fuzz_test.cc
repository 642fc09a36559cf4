// Random parameters and inputs of every policy against its definition.

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/executor/policy_conformance_unit.h"

namespace headwise {
namespace {

constexpr int kCasesOfAPolicy = 8;

class PolicyFuzzTest : public testing::TestWithParam<NamedPolicy> {};

INSTANTIATE_TEST_SUITE_P(Policies, PolicyFuzzTest,
                         testing::ValuesIn(ConformancePolicies()),
                         [](const auto& info) { return info.param.name; });

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  int64_t From(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  template <typename T>
  T OneOf(const std::vector<T>& values) {
    return values[static_cast<size_t>(
        From(0, static_cast<int64_t>(values.size()) - 1))];
  }

 private:
  std::mt19937 random_;
};

// The same kind and ways, all numbers drawn anew.
UnitCase RandomCase(const NamedPolicy& named, int64_t length, Dice* dice) {
  UnitCase c;
  c.policy = named.policy;
  c.prompt_len = dice->From(1, length);
  if (c.policy.window > 0) {
    c.policy.num_sinks = dice->OneOf<int64_t>({0, 1, 4, 64, 100});
    c.policy.window = dice->From(1, 300);
  }
  if (c.policy.window_divisor > 0) c.policy.window_divisor = dice->From(1, 9);
  if (c.policy.chunk_len > 0) {
    c.policy.num_chunks = dice->From(3, 7);
    if (c.policy.kind != PolicyKind::kQuest) {
      c.policy.chunk_len = dice->OneOf<int64_t>({64, 128, 192});
    }
  }
  c.heads_per_kv_head = dice->From(1, 4);
  c.head_dim = dice->OneOf<int64_t>({16, 32, 48, 64});
  c.element = dice->OneOf<KvElement>(
      {KvElement::kFp32, KvElement::kFp16, KvElement::kBf16, KvElement::kInt8});
  c.rope = dice->OneOf<RopeLayout>(
      {RopeLayout::kInterleaved, RopeLayout::kHalfSplit});
  return c;
}

TEST_P(PolicyFuzzTest, FollowsTheDefinition) {
  for (uint32_t seed = 0; seed < kCasesOfAPolicy; ++seed) {
    Dice dice(seed);
    const int64_t length = dice.From(1, 1400);
    const UnitCase c = RandomCase(GetParam(), length, &dice);
    SCOPED_TRACE(testing::Message()
                 << "seed " << seed << " length " << length << " prompt "
                 << c.prompt_len << " sinks " << c.policy.num_sinks
                 << " window " << c.policy.window << " chunks "
                 << c.policy.num_chunks << " of " << c.policy.chunk_len
                 << " heads " << c.heads_per_kv_head << " of " << c.head_dim
                 << " element " << static_cast<int>(c.element));
    const UnitInputs inputs = RandomInputs(c, length, seed);
    UnitUnderTest unit(c, inputs);
    while (unit.length() < length) {
      unit.Feed(dice.From(1, std::min<int64_t>(200, length - unit.length())),
                dice.From(1, 128));
    }
    const int64_t stride = length / 40 + 1;
    const int64_t close_calls = ExpectByDefinition(
        unit, ReferenceOf(c, inputs), (length - 1) % stride, stride);
    EXPECT_LE(close_calls, 8);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace headwise
