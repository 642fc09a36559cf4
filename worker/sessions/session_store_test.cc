#include "worker/sessions/session_store.h"

#include <cmath>
#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/sessions/session_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kDim = 32;
constexpr int64_t kUnits = 2;
constexpr int64_t kGroup = 2;  // heads per kv head

class SessionStoreTest : public testing::Test {
 protected:
  static OpenPartRequest OpenOf(KvElement element,
                                std::vector<UnitShare> units) {
    return {"s",
            {.num_kv_heads = kUnits,
             .heads_per_kv_head = kGroup,
             .head_dim = kDim,
             .element = element,
             .max_positions = 20'000},
            std::move(units)};
  }
  static std::vector<UnitShare> Whole() { return {{0}, {1}}; }
  static std::vector<UnitShare> Streaming(int64_t sinks, int64_t window) {
    return {{.kv_head = 0,
             .policy = {.kind = PolicyKind::kStreaming,
                        .num_sinks = sinks,
                        .window = window}}};
  }

  // Stages [0, length) in chunks.
  void Fill(SessionStore& store, const std::vector<UnitShare>& units,
            int64_t length, int64_t chunk = 1000) {
    for (int64_t begin = 0; begin < length; begin += chunk) {
      const int64_t end = std::min(begin + chunk, length);
      const auto staged =
          store.Stage(StageOf("s", units, keys_, values_, begin, end));
      ASSERT_TRUE(staged.ok()) << staged;
    }
  }

  AttendPartRequest Queries(const std::vector<UnitShare>& units,
                            std::vector<int64_t> visible_end,
                            int64_t length) const {
    AttendPartRequest request = {"s", length, std::move(visible_end), {}};
    for (const UnitShare& unit : units) {
      UnitQueries queries = {unit.kv_head, {}};
      for (size_t r = 0; r < request.visible_end.size() * kGroup; ++r) {
        const float* q = queries_.row(static_cast<int64_t>(r), unit.kv_head);
        queries.queries.insert(queries.queries.end(), q, q + kDim);
      }
      request.units.push_back(std::move(queries));
    }
    return request;
  }

  // Of the merged partial of a unit that is whole.
  void ExpectNear(const AttendPartRequest& request, int64_t unit,
                  const RangePartial& partial, double tolerance,
                  int64_t sinks = 0, int64_t window = 1 << 30) const {
    const UnitQueries& queries = request.units[unit];
    for (size_t r = 0; r < partial.lse.size(); ++r) {
      const int64_t end = request.visible_end[r / kGroup];
      const ReferenceRow want = ReferenceAttention(
          queries.queries.data() + r * kDim, keys_, values_, queries.kv_head,
          request.length, [&](int64_t j) {
            return j < end && (j < sinks || j >= end - window);
          });
      EXPECT_NEAR(partial.lse[r], want.lse, tolerance * 10) << "row " << r;
      for (int64_t d = 0; d < kDim; ++d) {
        EXPECT_NEAR(partial.out[r * kDim + d], want.out[d], tolerance)
            << "row " << r << " dim " << d;
      }
    }
  }

  const RandomTensor keys_{12'000, kUnits, kDim, 1};
  const RandomTensor values_{12'000, kUnits, kDim, 2};
  const RandomTensor queries_{64, kUnits, kDim, 3};
};

TEST_F(SessionStoreTest, AttendsLikeTheReferenceForEveryStorage) {
  // Scores are off by up to |q| * |k| * 2^-12 (fp16), 2^-9 (bf16) or about
  // |q| * max|k| / 254 (int8), with |q|, |k| about 5.7 and max|k| about 3; the
  // output by as much of a value.
  const std::pair<KvElement, double> kinds[] = {{KvElement::kFp32, 1e-5},
                                                {KvElement::kFp16, 4e-3},
                                                {KvElement::kBf16, 4e-2},
                                                {KvElement::kInt8, 1e-1}};
  for (const auto& [element, tolerance] : kinds) {
    SCOPED_TRACE(static_cast<int>(element));
    StoreUnderTest under_test;
    ASSERT_TRUE(under_test.store.Open(OpenOf(element, Whole())).ok());
    Fill(under_test.store, Whole(), 1100);
    const auto request = Queries(Whole(), {1, 63, 512, 513, 1100}, 1100);
    const auto result = under_test.store.Attend(request);
    ASSERT_TRUE(result.ok()) << result.status();
    for (int64_t unit = 0; unit < kUnits; ++unit) {
      ASSERT_EQ(result->units[unit].parts.size(), 1u);
      ExpectNear(request, unit, result->units[unit].parts[0], tolerance);
    }
  }
}

TEST_F(SessionStoreTest, StreamingUnitsSeeSinksAndWindow) {
  for (const auto& [sinks, window] :
       {std::pair<int64_t, int64_t>{4, 100}, {0, 1}, {70, 700}, {600, 64}}) {
    SCOPED_TRACE(testing::Message() << sinks << " sinks, window " << window);
    StoreUnderTest under_test;
    const auto units = Streaming(sinks, window);
    ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, units)).ok());
    Fill(under_test.store, units, 12'000);
    const auto request =
        Queries(units, {12'000 - 4095, 9000, 11'999, 12'000}, 12'000);
    const auto result = under_test.store.Attend(request);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectNear(request, 0, result->units[0].parts.at(0), 1e-5, sinks, window);
  }
}

TEST_F(SessionStoreTest, WhatAStreamingUnitDroppedIsAnErrorNotANumber) {
  StoreUnderTest under_test;
  const auto units = Streaming(4, 100);
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, units)).ok());
  Fill(under_test.store, units, 12'000);
  const auto result = under_test.store.Attend(Queries(units, {5000}, 12'000));
  EXPECT_EQ(result.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("is not held any more"));
}

TEST_F(SessionStoreTest, BitsDependOnNeitherThreadsNorChunksNorOtherRows) {
  const std::vector<int64_t> ends = {1, 500, 3000, 9000};
  std::vector<float> expected;
  for (const int threads : {1, 3}) {
    for (const int64_t chunk : {64, 1000, 8192}) {
      StoreUnderTest under_test(threads);
      ASSERT_TRUE(
          under_test.store.Open(OpenOf(KvElement::kFp16, Whole())).ok());
      Fill(under_test.store, Whole(), 9000, chunk);
      const auto result = under_test.store.Attend(Queries(Whole(), ends, 9000));
      ASSERT_TRUE(result.ok()) << result.status();
      const std::vector<float>& out = result->units[1].parts[0].out;
      if (expected.empty()) expected = out;
      EXPECT_EQ(out, expected) << threads << " threads, chunk " << chunk;
      // The first row alone.
      const auto alone = under_test.store.Attend(Queries(Whole(), {1}, 9000));
      EXPECT_EQ(std::memcmp(alone->units[1].parts[0].out.data(), out.data(),
                            kGroup * kDim * sizeof(float)),
                0);
    }
  }
}

TEST_F(SessionStoreTest, ACutUnitGivesItsRangesOneByOne) {
  const std::vector<UnitShare> units = {{.kv_head = 0, .ranges = {0, 1, 3}}};
  StoreUnderTest under_test;
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp16, units)).ok());
  Fill(under_test.store, units, 2048);
  const auto result = under_test.store.Attend(Queries(units, {2048}, 2048));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& parts = result->units[0].parts;
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].first_range, 0);  // 0 and 1, merged
  EXPECT_EQ(parts[1].first_range, 3);
}

TEST_F(SessionStoreTest, WhatIsStagedAgainReplacesWhatWasNotStored) {
  StoreUnderTest under_test;
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, Whole())).ok());
  Fill(under_test.store, Whole(), 100);
  const RandomTensor other(12'000, kUnits, kDim, 9);
  ASSERT_TRUE(
      under_test.store.Stage(StageOf("s", Whole(), other, other, 100, 200))
          .ok());
  ASSERT_TRUE(
      under_test.store.Stage(StageOf("s", Whole(), keys_, values_, 100, 200))
          .ok());
  const auto request = Queries(Whole(), {200}, 200);
  ExpectNear(request, 0, under_test.store.Attend(request)->units[0].parts[0],
             1e-5);
}

TEST_F(SessionStoreTest, AForkSharesBlocksAndGrowsAlone) {
  StoreUnderTest under_test;
  SessionStore& store = under_test.store;
  ASSERT_TRUE(store.Open(OpenOf(KvElement::kFp32, Whole())).ok());
  Fill(store, Whole(), 1000);
  const int64_t before = store.committed_bytes();
  const auto fork = store.Fork("s", "f", 1000);
  ASSERT_TRUE(fork.ok()) << fork.status();
  // 15 whole blocks of each unit are shared, so they cost nothing.
  const int64_t block = KvLayout{KvElement::kFp32, kDim}.block_bytes();
  EXPECT_EQ(store.committed_bytes() - before, *fork - 2 * 15 * block);

  const RandomTensor other(12'000, kUnits, kDim, 9);
  StageRequest stage = StageOf("f", Whole(), other, other, 1000, 1100);
  ASSERT_TRUE(store.Stage(stage).ok());
  ASSERT_TRUE(
      store.Stage(StageOf("s", Whole(), keys_, values_, 1000, 1100)).ok());
  const auto request = Queries(Whole(), {1100}, 1100);
  ExpectNear(request, 0, store.Attend(request)->units[0].parts[0], 1e-5);

  // Whole blocks survive their first owner.
  ASSERT_TRUE(store.Delete("s").ok());
  auto of_fork = Queries(Whole(), {1000}, 1000);
  of_fork.session_id = "f";
  ExpectNear(of_fork, 1, store.Attend(of_fork)->units[1].parts[0], 1e-5);
  ASSERT_TRUE(store.Delete("f").ok());
  EXPECT_EQ(store.committed_bytes(), 0);
}

TEST_F(SessionStoreTest, ABlockOfAForkIsNotWrittenOver) {
  StoreUnderTest under_test;
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, Whole())).ok());
  Fill(under_test.store, Whole(), 1000);
  ASSERT_TRUE(under_test.store.Fork("s", "f", 1000).ok());
  const auto staged =
      under_test.store.Stage(StageOf("s", Whole(), keys_, values_, 0, 64));
  EXPECT_EQ(staged.code(), StatusCode::kFailedPrecondition);
}

TEST_F(SessionStoreTest, OpenNamesNeededAndAvailableBytes) {
  StoreUnderTest under_test(1, 1 << 20);
  const auto opened = under_test.store.Open(OpenOf(KvElement::kFp32, Whole()));
  EXPECT_EQ(opened.status().code(), StatusCode::kResourceExhausted);
  // 313 blocks of 16 KiB for each unit, and tables.
  EXPECT_THAT(std::string(opened.status().message()),
              HasSubstr("needs 10261392 bytes, 1048576 of 1048576"));
  EXPECT_EQ(under_test.store.num_sessions(), 0);
}

TEST_F(SessionStoreTest, AForkThatDoesNotFitLeavesNothing) {
  StoreUnderTest under_test(1, 12 << 20);
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, Whole())).ok());
  Fill(under_test.store, Whole(), 100);
  const int64_t before = under_test.store.committed_bytes();
  EXPECT_EQ(under_test.store.Fork("s", "f", 100).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(under_test.store.committed_bytes(), before);
}

TEST_F(SessionStoreTest, BlocksThatWereExportedAttendWithEqualBits) {
  for (const KvElement element : {KvElement::kFp16, KvElement::kInt8}) {
    StoreUnderTest from;
    StoreUnderTest to;
    ASSERT_TRUE(from.store.Open(OpenOf(element, Whole())).ok());
    ASSERT_TRUE(to.store.Open(OpenOf(element, Whole())).ok());
    Fill(from.store, Whole(), 1000);
    // Staged, not stored: must not travel.
    ASSERT_TRUE(
        from.store.Stage(StageOf("s", Whole(), keys_, values_, 1000, 1010))
            .ok());
    for (const UnitShare& unit : Whole()) {
      for (const BlockRun& run : BlockRuns(unit, 1000, 3)) {
        const auto bytes = from.store.Export("s", run, 1000);
        ASSERT_TRUE(bytes.ok()) << bytes.status();
        const auto imported = to.store.Import("s", run, *bytes);
        ASSERT_TRUE(imported.ok()) << imported;
        EXPECT_EQ(*to.store.Export("s", run, 20'000), *bytes);
      }
    }
    const auto request = Queries(Whole(), {999, 1000}, 1000);
    EXPECT_EQ(from.store.Attend(request)->units[1].parts[0].out,
              to.store.Attend(request)->units[1].parts[0].out);
  }
}

// Snapshots hold blocks as they lie in memory: whoever changes KvLayout must
// change kSnapshotFormat (server/frontends/attention_wire.h), too.
TEST_F(SessionStoreTest, BlocksLieAsSnapshotFormatOneSays) {
  StoreUnderTest under_test;
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp32, Whole())).ok());
  Fill(under_test.store, Whole(), 64);
  const auto bytes = under_test.store.Export("s", {1, 0, 1}, 64);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto* block = reinterpret_cast<const float*>(bytes->data());
  for (int64_t slot = 0; slot < 64; ++slot) {
    for (int64_t d = 0; d < kDim; ++d) {
      ASSERT_EQ(block[d * 64 + slot], keys_.row(slot, 1)[d]);
      ASSERT_EQ(block[(64 + slot) * kDim + d], values_.row(slot, 1)[d]);
    }
  }
}

TEST_F(SessionStoreTest, RowsThatNeedTooMuchMemoryAreRefused) {
  StoreUnderTest under_test;
  const std::vector<UnitShare> units = {{.kv_head = 0}};
  OpenPartRequest open = OpenOf(KvElement::kFp16, units);
  open.shape.heads_per_kv_head = 64;
  ASSERT_TRUE(under_test.store.Open(open).ok());
  Fill(under_test.store, units, 12'000);
  AttendPartRequest request = {
      "s", 12'000, std::vector<int64_t>(2048, 12'000), {}};
  request.units.push_back({0, std::vector<float>(2048 * 64 * kDim)});
  const auto result = under_test.store.Attend(request);
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("131072 rows over 17 ranges"));
}

TEST_F(SessionStoreTest, BlocksWithNanAreRefused) {
  StoreUnderTest under_test;
  ASSERT_TRUE(under_test.store.Open(OpenOf(KvElement::kFp16, Whole())).ok());
  std::string bytes(KvLayout{KvElement::kFp16, kDim}.block_bytes(), '\0');
  bytes[1] = 0x7e;
  const auto imported = under_test.store.Import("s", {1, 2, 1}, bytes);
  EXPECT_EQ(imported.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(imported.message()),
              HasSubstr("block 2 of kv_head 1"));
}

TEST_F(SessionStoreTest, HostileRequestsAreRefused) {
  StoreUnderTest under_test;
  SessionStore& store = under_test.store;
  ASSERT_TRUE(store.Open(OpenOf(KvElement::kFp16, {{1}})).ok());
  EXPECT_EQ(store.Open(OpenOf(KvElement::kFp16, {{1}})).status().code(),
            StatusCode::kAlreadyExists);
  Fill(store, {{1}}, 100);
  const auto code_of = [&](const AttendPartRequest& request) {
    return store.Attend(request).status().code();
  };
  EXPECT_EQ(code_of(Queries({{0}}, {1}, 100)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(Queries({{1}}, {101}, 100)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(Queries({{1}}, {3, 2}, 100)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(Queries({{1}}, {-1}, 100)), StatusCode::kInvalidArgument);
  auto short_of = Queries({{1}}, {1}, 100);
  short_of.units[0].queries.pop_back();
  EXPECT_EQ(code_of(short_of), StatusCode::kInvalidArgument);
  // Not stored here: an error, not zeros.
  EXPECT_EQ(code_of(Queries({{1}}, {200}, 200)),
            StatusCode::kFailedPrecondition);

  StageRequest stage = StageOf("s", {{1}}, keys_, values_, 100, 110);
  stage.pieces[0].values.pop_back();
  EXPECT_EQ(store.Stage(stage).code(), StatusCode::kInvalidArgument);
  stage = StageOf("s", {{1}}, keys_, values_, 100, 110);
  stage.length = 101;
  EXPECT_EQ(store.Stage(stage).code(), StatusCode::kInvalidArgument);
  stage = StageOf("s", {{0}}, keys_, values_, 100, 110);
  EXPECT_EQ(store.Stage(stage).code(), StatusCode::kInvalidArgument);
  stage = StageOf("s", {{1}}, keys_, values_, 100, 110);
  stage.pieces[0].first_position = 19'995;
  EXPECT_EQ(store.Stage(stage).code(), StatusCode::kInvalidArgument);
  stage.session_id = "t";
  EXPECT_EQ(store.Stage(stage).code(), StatusCode::kNotFound);
  EXPECT_EQ(store.Export("s", {1, 1, 5}, 100).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Export("s", {0, 0, 1}, 100).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(SessionStoreTest, ASessionThatNobodyRenewsIsDropped) {
  StoreUnderTest under_test;
  SessionStore& store = under_test.store;
  ASSERT_TRUE(store.Open(OpenOf(KvElement::kFp16, Whole())).ok());
  under_test.clock.Advance(absl::Seconds(50));
  EXPECT_THAT(store.Renew({"s", "t"}), ElementsAre("t"));
  under_test.clock.Advance(absl::Seconds(50));
  EXPECT_THAT(store.Renew({}), ElementsAre());
  EXPECT_EQ(store.num_sessions(), 1);
  under_test.clock.Advance(absl::Seconds(20));
  EXPECT_THAT(store.Renew({}), ElementsAre());
  EXPECT_EQ(store.num_sessions(), 0);
  EXPECT_EQ(store.committed_bytes(), 0);
}

}  // namespace
}  // namespace headwise
