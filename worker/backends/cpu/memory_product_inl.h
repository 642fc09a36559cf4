// The product that all of a neural memory is made of. Include only from a
// memory_*.cc file, after a lanes_*.h, kTileRows and TileCols.
//
// Bound by arithmetic: a tile of rows times columns loads each value of b once
// for kTileRows fused operations, and a panel of b as wide as a tile stays in
// the first-level cache for all rows.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MEMORY_PRODUCT_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MEMORY_PRODUCT_INL_H_

#include "worker/backends/cpu/memory_kernels.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

// Adds k to rows [kFirst, kRows) of a tile. g++ 12 keeps sums in registers only
// if it is told to unroll.
template <int kFirst, int kRows, int kCols>
inline void AddToTile(const float* a, int64_t a_row_stride, const float* b,
                      F32x16 (&acc)[kRows][kCols]) {
  F32x16 columns[kCols];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) columns[c] = Load(b + 16 * c);
#pragma GCC unroll 8
  for (int r = kFirst; r < kRows; ++r) {
    const F32x16 x = Set(a[r * a_row_stride]);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) acc[r][c] = Fma(x, columns[c], acc[r][c]);
  }
}

// Rows of a tile that go one deeper each: row kFirst and those below it.
template <int kFirst, int kRows, int kCols>
inline void AddSteps(const MemoryProduct& p, const float* a, const float* b,
                     F32x16 (&acc)[kRows][kCols]) {
  if constexpr (kFirst < kRows) {
    AddToTile<kFirst, kRows, kCols>(a, p.a_row_stride, b, acc);
    AddSteps<kFirst + 1, kRows, kCols>(p, a + p.a_depth_stride, b + p.b_stride,
                                       acc);
  }
}

template <int kRows, int kCols>
inline void ProductTile(const MemoryProduct& p, int64_t m, int64_t n) {
  F32x16 acc[kRows][kCols];
  float* out = p.out + m * p.out_stride + n;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      acc[r][c] = p.add ? Load(out + r * p.out_stride + 16 * c) : Zero();
    }
  }
  const float* a = p.a + m * p.a_row_stride;
  const float* b = p.b + n;
  const int64_t depth = p.depth + m * p.depth_step;
  for (int64_t k = 0; k < depth; ++k) {
    AddToTile<0, kRows, kCols>(a, p.a_row_stride, b, acc);
    a += p.a_depth_stride;
    b += p.b_stride;
  }
  if (p.depth_step != 0) AddSteps<1, kRows, kCols>(p, a, b, acc);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      Store(acc[r][c], out + r * p.out_stride + 16 * c);
    }
  }
}

// Rows [first, last), a multiple of kRows: column by column of tiles, so that
// what they share of b stays near.
template <int kRows>
void ProductRows(const MemoryProduct& p, int64_t first, int64_t last) {
  constexpr int kCols = TileCols(kRows);
  int64_t n = 0;
  for (; n + 16 * kCols <= p.num_cols; n += 16 * kCols) {
    for (int64_t m = first; m < last; m += kRows) {
      ProductTile<kRows, kCols>(p, m, n);
    }
  }
  for (; n < p.num_cols; n += 16) {
    for (int64_t m = first; m < last; m += kRows) {
      ProductTile<kRows, 1>(p, m, n);
    }
  }
}

void Product(const MemoryProduct& p) {
  static_assert(kTileRows == 6);
  const int64_t whole = p.num_rows / kTileRows * kTileRows;
  if (whole > 0) ProductRows<kTileRows>(p, 0, whole);
  switch (p.num_rows - whole) {
    case 1:
      return ProductRows<1>(p, whole, p.num_rows);
    case 2:
      return ProductRows<2>(p, whole, p.num_rows);
    case 3:
      return ProductRows<3>(p, whole, p.num_rows);
    case 4:
      return ProductRows<4>(p, whole, p.num_rows);
    case 5:
      return ProductRows<5>(p, whole, p.num_rows);
    default:
      return;
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MEMORY_PRODUCT_INL_H_
