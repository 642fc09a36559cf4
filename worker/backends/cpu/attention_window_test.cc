// Rows that see windows of the cache, and scores without attention.

#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cpu/attention_case.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

class WindowTest : public AttendTest {};

std::vector<float> RowOf(const std::vector<float>& rows, int64_t r,
                         int64_t dim) {
  return {rows.begin() + r * dim, rows.begin() + (r + 1) * dim};
}

bool SameRow(const Partial& many, int64_t r, const Partial& one) {
  const size_t dim = one.out.size();
  return std::memcmp(many.out.data() + r * dim, one.out.data(), dim * 4) == 0 &&
         std::memcmp(&many.lse[r], one.lse.data(), 4) == 0;
}

TEST_P(WindowTest, EqualsPlainAttentionAtEveryEdge) {
  const int64_t length = 600;
  for (int64_t dim : {16, 64, 80}) {
    const Case c(kernels(), GetParam().element, dim, length, 81);
    const std::vector<float> queries = RandomQueries(1, dim, 82);
    for (int64_t begin : {0, 1, 15, 16, 17, 64, 255, 256, 257, 511, 599}) {
      for (int64_t size : {1, 15, 16, 17, 64, 257, 600}) {
        const int64_t end = std::min(begin + size, length);
        SCOPED_TRACE(testing::Message()
                     << "dim=" << dim << " [" << begin << ", " << end << ")");
        const Partial partial =
            Attend(kernels(), c, queries, {{end}, {begin}}, 0, length);
        ExpectNear(partial, 0, Reference(c, queries.data(), begin, end));
      }
    }
  }
}

TEST_P(WindowTest, BitsOfWindowsFromTheStartAreThoseWithoutWindow) {
  const int64_t dim = 64, length = 700, rows = 23;
  const Case c(kernels(), GetParam().element, dim, length, 83);
  const std::vector<float> queries = RandomQueries(rows, dim, 84);
  std::vector<int64_t> end;
  for (int64_t r = 0; r < rows; ++r) end.push_back(length - rows + r + 1);
  for (int64_t from : {0, 256}) {
    const std::vector<int64_t> begin(static_cast<size_t>(rows), from);
    EXPECT_EQ(Attend(kernels(), c, queries, {end, begin}, from, length),
              Attend(kernels(), c, queries, {end}, from, length));
    EXPECT_EQ(Attend(kernels(), c, queries, {end, begin}, 0, length).lse,
              Attend(kernels(), c, queries, {end}, from, length).lse);
  }
}

// Windows of many sizes in one call, rows that see nothing among them, and gaps
// that no row sees.
Visible MixedWindows() {
  Visible v;
  const int64_t spans[][2] = {{0, 5},     {0, 5},     {3, 3},     {10, 20},
                              {12, 90},   {12, 300},  {200, 300}, {250, 300},
                              {250, 301}, {301, 301}, {460, 470}, {460, 512},
                              {500, 513}, {512, 520}, {515, 640}, {515, 640},
                              {516, 640}, {600, 700}, {650, 700}};
  for (const auto& span : spans) {
    v.begin.push_back(span[0]);
    v.end.push_back(span[1]);
  }
  return v;
}

// A row in a batch of other windows gives the bits that it gives alone on the
// first instruction set.
TEST_P(WindowTest, BitsOfARowDependOnNoOtherRow) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  const int64_t dim = 80, length = 700;
  const Case c(kernels(), GetParam().element, dim, length, 85);
  const Case same(first, GetParam().element, dim, length, 85);
  const Visible visible = MixedWindows();
  const auto rows = static_cast<int64_t>(visible.end.size());
  const std::vector<float> queries = RandomQueries(rows, dim, 86);
  for (int64_t begin : {0, 256, 512}) {
    const Partial all = Attend(kernels(), c, queries, visible, begin, length);
    for (int64_t r = 0; r < rows; ++r) {
      const Visible own = {{visible.end[r]}, {visible.begin[r]}};
      const Partial one =
          Attend(first, same, RowOf(queries, r, dim), own, begin, length);
      ASSERT_TRUE(SameRow(all, r, one)) << "row " << r << " begin " << begin;
      if (std::max(visible.begin[r], begin) < visible.end[r]) continue;
      ASSERT_EQ(one.lse[0], kNegativeInfinity);
      ASSERT_EQ(one.out, std::vector<float>(static_cast<size_t>(dim), 0.0f));
    }
  }
}

// Few and many rows; the blocks of no row's window are absent, so that reading
// one ends the test.
TEST_P(WindowTest, BlocksThatNoRowSeesMayBeAbsent) {
  const int64_t dim = 64, length = 900;
  const Case c(kernels(), GetParam().element, dim, length, 87);
  for (int64_t copies : {1, 2, 7}) {
    Visible visible;
    for (const auto& span : {std::pair(130, 140), std::pair(400, 500),
                             std::pair(450, 500), std::pair(832, 896)}) {
      visible.begin.insert(visible.begin.end(), copies, span.first);
      visible.end.insert(visible.end.end(), copies, span.second);
    }
    const std::vector<float> queries = RandomQueries(4 * copies, dim, 88);
    std::vector<const uint8_t*> blocks(c.blocks.size(), nullptr);
    for (size_t b : {2, 6, 7, 13}) blocks[b] = c.blocks[b];
    EXPECT_EQ(
        AttendBlocks(kernels(), c.layout, blocks, queries, visible, 0, length),
        Attend(kernels(), c, queries, visible, 0, length));
  }
}

// What no row sees may be anything: here NaN, in the tiles that are read too.
TEST_P(WindowTest, PositionsOutsideAreNotSeen) {
  const int64_t dim = 64, length = 300;
  Case c(kernels(), GetParam().element, dim, length, 89);
  const Visible visible = {{40, 41, 45, 47, 50, 50, 290, 290},
                           {21, 21, 21, 30, 30, 35, 265, 266}};
  const std::vector<float> queries = RandomQueries(8, dim, 90);
  const Partial before = Attend(kernels(), c, queries, visible, 0, length);
  const std::vector<float> nan(static_cast<size_t>(dim), std::nanf(""));
  for (int64_t p = 0; p < length; ++p) {
    if ((p >= 21 && p < 50) || (p >= 265 && p < 290)) continue;
    kernels().append(
        {c.layout, c.storage[p / 64].data(), p % 64, nan.data(), nan.data()});
  }
  EXPECT_EQ(Attend(kernels(), c, queries, visible, 0, length), before);
  // Seen by others: the rows before and after must not change.
  kernels().append({c.layout, c.storage[0].data(), 49, nan.data(), nan.data()});
  const Partial after = Attend(kernels(), c, queries, visible, 0, length);
  for (int64_t r : {0, 1, 2, 3, 6, 7}) {
    EXPECT_TRUE(SameRow(after, r, {RowOf(before.out, r, dim), {before.lse[r]}}))
        << r;
  }
  EXPECT_TRUE(std::isnan(after.lse[4]) && std::isnan(after.lse[5]));
}

struct ScoreCall {
  int64_t begin, end, rows;
};

std::vector<float> ScoresOf(const Kernels& kernels, const Case& c,
                            const std::vector<float>& queries,
                            const ScoreCall& call) {
  const int64_t stride = call.end - call.begin;
  std::vector<float> out(static_cast<size_t>(call.rows * stride + 1), 7.0f);
  kernels.scores({c.layout, c.blocks.data(), call.begin, call.end,
                  queries.data(), call.rows, out.data(), stride});
  EXPECT_EQ(out.back(), 7.0f) << "written beyond the end";
  out.pop_back();
  return out;
}

// A window of one position has the position's score as its lse: max + log(1).
TEST_P(WindowTest, ScoresAreThoseOfAttention) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  const int64_t dim = 80, length = 330;
  const Case c(kernels(), GetParam().element, dim, length, 91);
  for (int64_t rows : {1, 3, 4, 7}) {
    const std::vector<float> queries = RandomQueries(rows, dim, 92);
    for (const ScoreCall& call :
         {ScoreCall{0, length, rows}, ScoreCall{48, 49, rows},
          ScoreCall{64, 320, rows}, ScoreCall{16, 16, rows}}) {
      const std::vector<float> scores = ScoresOf(kernels(), c, queries, call);
      EXPECT_EQ(scores, ScoresOf(first, c, queries, call));
      const int64_t stride = call.end - call.begin;
      for (int64_t i = 0; i < rows * stride; i += 7) {
        const int64_t p = call.begin + i % stride;
        const Partial one =
            Attend(kernels(), c, RowOf(queries, i / stride, dim),
                   {{p + 1}, {p}}, 0, length);
        ASSERT_EQ(scores[i], one.lse[0]) << "row " << i / stride << " " << p;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, WindowTest, testing::ValuesIn(AllAttendParams()),
                         AttendParamName);

}  // namespace
}  // namespace headwise
