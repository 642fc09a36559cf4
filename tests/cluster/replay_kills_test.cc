// A worker is killed at each of the first 64 tokens of an answer.

#include <cstddef>
#include <vector>

#include "tests/cluster/replay_fixture.h"

namespace headwise {
namespace {

using KillTest = KillFixture;

TEST_P(KillTest, AtEachOfTheFirst64Tokens) {
  std::vector<size_t> indices;
  for (size_t index = 1; index <= 64; ++index) indices.push_back(index);
  KillAt(indices);
}

INSTANTIATE_TEST_SUITE_P(Workers, KillTest, testing::Values(2, 3));

}  // namespace
}  // namespace headwise
