#include "worker/sessions/probe_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/sessions/session_fixture.h"

namespace headwise {
namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kLength = 9000;

class ProbeRowsTest : public testing::Test {
 protected:
  // One unit with one head.
  ProbePartRequest RequestOf(const UnitShare& unit,
                             std::vector<int64_t> visible_end) const {
    ProbePartRequest request;
    request.session_id = "s";
    request.length = kLength;
    request.visible_end = std::move(visible_end);
    request.num_top_keys = 5;
    request.segment_bounds = {0, 10, 600, kLength};
    request.entropy = true;
    ProbeUnit probe;
    for (size_t r = 0; r < request.visible_end.size(); ++r) {
      const float* q = queries_.row(static_cast<int64_t>(r), 0);
      probe.queries.queries.insert(probe.queries.queries.end(), q, q + kDim);
      probe.lse.push_back(static_cast<float>(Reference(unit, request, r).lse));
    }
    request.units.push_back(std::move(probe));
    return request;
  }

  ReferenceRow Reference(const UnitShare& unit, const ProbePartRequest& request,
                         size_t r) const {
    const int64_t end = request.visible_end[r];
    return ReferenceAttention(
        queries_.row(static_cast<int64_t>(r), 0), keys_, values_, 0, kLength,
        [&](int64_t j) {
          return j < end && (unit.is_full() || j < unit.policy.num_sinks ||
                             j >= end - unit.policy.window);
        });
  }

  UnitProbe Probe(StoreUnderTest& under_test, const UnitShare& unit,
                  const ProbePartRequest& request) {
    const auto opened = under_test.store.Open({"s",
                                               {.num_kv_heads = 1,
                                                .heads_per_kv_head = 1,
                                                .head_dim = kDim,
                                                .element = KvElement::kFp32,
                                                .max_positions = kLength},
                                               {unit}});
    EXPECT_TRUE(opened.ok()) << opened.status();
    for (int64_t begin = 0; begin < kLength; begin += 1000) {
      EXPECT_TRUE(
          under_test.store
              .Stage(StageOf("s", {unit}, keys_, values_, begin, begin + 1000))
              .ok());
    }
    const auto result = under_test.store.Probe(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->units.at(0);
  }

  const RandomTensor keys_{kLength, 1, kDim, 11};
  const RandomTensor values_{kLength, 1, kDim, 12};
  const RandomTensor queries_{8, 1, kDim, 13};
};

TEST_F(ProbeRowsTest, EqualsTheReference) {
  for (const UnitShare& unit :
       {UnitShare{}, UnitShare{.policy = {.kind = PolicyKind::kStreaming,
                                         .num_sinks = 7,
                                         .window = 3000}}}) {
    SCOPED_TRACE(unit.policy.window);
    const auto request = RequestOf(unit, {kLength - 4000, 8191, kLength});
    StoreUnderTest under_test(3);
    const UnitProbe probe = Probe(under_test, unit, request);
    for (size_t r = 0; r < request.visible_end.size(); ++r) {
      const ReferenceRow want = Reference(unit, request, r);
      std::vector<int64_t> order(kLength);
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return want.probs[a] > want.probs[b];
      });
      double entropy = 0.0;
      std::vector<double> mass(3);
      for (int64_t j = 0; j < kLength; ++j) {
        mass[j < 10 ? 0 : j < 600 ? 1 : 2] += want.probs[j];
        if (want.probs[j] > 0) {
          entropy -= want.probs[j] * std::log(want.probs[j]);
        }
      }
      for (int64_t k = 0; k < 5; ++k) {
        EXPECT_EQ(probe.top[5 * r + k].position, order[k]);
        EXPECT_NEAR(probe.top[5 * r + k].prob, want.probs[order[k]], 1e-6);
      }
      for (int64_t s = 0; s < 3; ++s) {
        EXPECT_NEAR(probe.mass[3 * r + s] * kMassUnit, mass[s], 1e-5);
      }
      EXPECT_NEAR(probe.entropy[r] * kEntropyUnit, entropy, 1e-4);
    }
  }
}

TEST_F(ProbeRowsTest, SameNumbersForAnyThreadCount) {
  const auto request = RequestOf({}, {1, 700, kLength});
  StoreUnderTest one(1);
  StoreUnderTest four(4);
  const UnitProbe a = Probe(one, {}, request);
  const UnitProbe b = Probe(four, {}, request);
  EXPECT_EQ(a.mass, b.mass);
  EXPECT_EQ(a.entropy, b.entropy);
  for (size_t i = 0; i < a.top.size(); ++i) {
    EXPECT_EQ(a.top[i].position, b.top[i].position);
    EXPECT_EQ(a.top[i].prob, b.top[i].prob);
  }
}

TEST_F(ProbeRowsTest, ARowThatSeesFewerKeysHasEmptyPlaces) {
  const auto request = RequestOf({}, {0, 2});
  StoreUnderTest under_test;
  const UnitProbe probe = Probe(under_test, {}, request);
  EXPECT_EQ(probe.top[0].position, -1);
  EXPECT_EQ(probe.mass[0], 0);
  EXPECT_GE(probe.top[5 + 1].position, 0);
  EXPECT_EQ(probe.top[5 + 2].position, -1);
}

TEST_F(ProbeRowsTest, BadSizesAreRefused) {
  auto request = RequestOf({}, {5});
  StoreUnderTest under_test;
  Probe(under_test, {}, request);
  const auto code = [&] {
    return under_test.store.Probe(request).status().code();
  };
  request.num_top_keys = kMaxTopKeys + 1;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request = RequestOf({}, {5});
  request.segment_bounds = {5, 3};
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request = RequestOf({}, {5});
  request.units[0].lse[0] = NAN;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
}

TEST(AddTopKeyTest, EqualProbabilitiesGoByPosition) {
  TopKey top[2];
  AddTopKey({9, 0.25f}, 2, top);
  AddTopKey({3, 0.25f}, 2, top);
  AddTopKey({5, 0.25f}, 2, top);
  EXPECT_EQ(top[0].position, 3);
  EXPECT_EQ(top[1].position, 5);
}

}  // namespace
}  // namespace headwise
