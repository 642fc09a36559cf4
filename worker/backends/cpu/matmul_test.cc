// The matrix product: each dtype against double arithmetic on its dequantized
// weights, and the bits over instruction sets, tile shapes and parts.

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/huge_memory.h"
#include "gtest/gtest.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/packed_matrix.h"
#include "worker/backends/cpu/tested_kernels.h"

namespace headwise {
namespace {

// More than two AMX tiles of 16 tokens, and some that are left over.
constexpr int64_t kTokens = 35;

// Each packed format is some dtype's.
constexpr DType kAllDTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                                DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                                DType::kQ5_0, DType::kQ5_1, DType::kQ4_K,
                                DType::kQ5_K, DType::kQ6_K};

// A tensor of random bytes whose fp16 fields are small and finite.
struct RandomTensor {
  std::vector<uint8_t> bytes;
  TensorView view;
};

RandomTensor MakeTensor(DType dtype, int64_t rows, int64_t cols,
                        uint32_t seed) {
  const DTypeInfo& info = InfoOf(dtype);
  RandomTensor tensor;
  tensor.bytes.resize(
      static_cast<size_t>(rows * cols / info.block_len * info.block_bytes));
  std::mt19937 random(seed);
  for (uint8_t& byte : tensor.bytes) byte = static_cast<uint8_t>(random());
  const auto fp16 = [&](int64_t at) {  // in +-[2^-7, 2^-6)
    tensor.bytes[at + 1] =
        static_cast<uint8_t>((tensor.bytes[at + 1] & 0x83) | 0x20);
  };
  const int64_t num_blocks = rows * cols / info.block_len;
  for (int64_t b = 0; b < num_blocks; ++b) {
    const int64_t at = b * info.block_bytes;
    switch (dtype) {
      case DType::kF32: {
        const float value = static_cast<float>(random() % 2001) / 1000 - 1;
        std::memcpy(&tensor.bytes[at], &value, 4);
        break;
      }
      case DType::kF16:
        fp16(at);
        break;
      case DType::kBF16:
        tensor.bytes[at + 1] =
            static_cast<uint8_t>((tensor.bytes[at + 1] & 0x80) | 0x3e);
        break;
      case DType::kQ6_K:
        fp16(at + 208);
        break;
      case DType::kQ8_0:
      case DType::kQ4_0:
      case DType::kQ5_0:
        fp16(at);
        break;
      default:
        fp16(at);
        fp16(at + 2);
    }
  }
  tensor.view = {"random", dtype, {rows, cols}, tensor.bytes};
  return tensor;
}

// Activations, quantized and as what the quantized ones stand for.
struct Activations {
  std::vector<float> x;
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> half_offset;
  QuantizedRows rows;

  Activations(int64_t tokens, int64_t n, uint32_t seed)
      : x(tokens * n),
        q(tokens * n),
        scale(tokens * n / 32),
        scaled_sum(tokens * n / 32),
        half_offset(tokens * n / 16) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(random);
    for (int64_t m = 0; m < tokens; ++m) {
      AllTestedKernels().front().kernels->quantize(
          x.data() + m * n, n,
          {q.data() + m * n, scale.data() + m * n / 32,
           scaled_sum.data() + m * n / 32, half_offset.data() + m * n / 16});
    }
    rows = {q.data(), scale.data(), scaled_sum.data(), half_offset.data(), n};
  }
  double At(bool quantized, int64_t i) const {
    return quantized ? double{scale[i / 32]} * q[i] : double{x[i]};
  }
};

// A packed part with its memory.
struct Packed {
  HugeMemory memory;
  PackedMatrix matrix;
  const PackedMatrix& operator*() const { return matrix; }
  const PackedMatrix* operator->() const { return &matrix; }
};

Packed Pack(const TensorView& tensor, const MatrixPart& part) {
  Packed packed;
  packed.memory = HugeMemory(PackedMatrix::BytesOf(tensor.dtype, part));
  absl::StatusOr<PackedMatrix> matrix =
      PackedMatrix::Pack(tensor, part, packed.memory.data());
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  packed.matrix = *matrix;
  return packed;
}

std::vector<float> Product(const Kernels& kernels, const PackedMatrix& weights,
                           const Activations& a, int64_t tokens) {
  MatMulArgs args;
  weights.Describe(&args);
  args.last_group = weights.num_groups();
  args.rows = a.rows;
  args.x = a.x.data();
  args.x_stride = weights.cols();
  args.num_tokens = tokens;
  args.out_stride = 16 * weights.num_groups();
  std::vector<float> out(static_cast<size_t>(tokens * args.out_stride));
  args.out = out.data();
  kernels.matmul(args);
  return out;
}

class MatMulTest
    : public testing::TestWithParam<std::tuple<TestedKernels, DType>> {};

TEST_P(MatMulTest, EqualsTheDequantizedProduct) {
  const auto& [tested, dtype] = GetParam();
  const int64_t rows = 35, cols = 512, tokens = kTokens;
  const RandomTensor tensor = MakeTensor(dtype, rows, cols, 5);
  const Packed weights = Pack(tensor.view, {0, rows, 0, cols});
  const Activations a(tokens, cols, 6);
  const std::vector<float> out = Product(*tested.kernels, *weights, a, tokens);
  std::vector<float> w(cols);
  for (int64_t row = 0; row < rows; ++row) {
    DequantizeRow(tensor.view, row, absl::MakeSpan(w));
    for (int64_t m = 0; m < tokens; ++m) {
      double exact = 0.0, size = 0.0;
      for (int64_t k = 0; k < cols; ++k) {
        const double term = w[k] * a.At(weights->is_quantized(), m * cols + k);
        exact += term;
        size += std::abs(term);
      }
      // Each of `cols` terms meets at most one rounding per later term of its
      // chain; minima make |scale q| + |min| up to twice |w|, and dequantizing
      // rounds once or twice more.
      const double bound = 0x1p-24 * (cols + 8) * 2 * size;
      ASSERT_NEAR(out[m * 48 + row], exact, bound) << row << " " << m;
    }
  }
  for (int64_t m = 0; m < tokens; ++m) {
    for (int64_t pad = rows; pad < 48; ++pad) {
      EXPECT_EQ(out[m * 48 + pad], 0.0f) << "padding rows";
    }
  }
}

// The bits of a (row, token) pair do not depend on the instruction set, on how
// many tokens share the call, nor on which part of the matrix is packed.
TEST_P(MatMulTest, BitsAreThoseOfOneTokenOnTheFirstIsa) {
  const auto& [tested, dtype] = GetParam();
  const int64_t rows = 64, cols = 256;
  const RandomTensor tensor = MakeTensor(dtype, rows, cols, 7);
  const Packed all = Pack(tensor.view, {0, 64, 0, cols});
  const Packed part = Pack(tensor.view, {16, 48, 0, cols});
  const Kernels& first = *AllTestedKernels().front().kernels;
  std::vector<std::vector<float>> alone;  // by token
  for (int64_t m = 0; m < kTokens; ++m) {
    Activations one(kTokens, cols, 8);
    one.rows.q += m * cols;
    one.rows.scale += m * cols / 32;
    one.rows.scaled_sum += m * cols / 32;
    one.rows.half_offset += m * cols / 16;
    one.x.erase(one.x.begin(), one.x.begin() + m * cols);
    alone.push_back(Product(first, *all, one, 1));
  }
  for (int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 32, 35}) {
    SCOPED_TRACE(count);
    const Activations a(count, cols, 8);  // a prefix of the same numbers
    const std::vector<float> out = Product(*tested.kernels, *all, a, count);
    const std::vector<float> some = Product(*tested.kernels, *part, a, count);
    for (int64_t m = 0; m < count; ++m) {
      const float* one = alone[m].data();
      ASSERT_EQ(std::memcmp(one, out.data() + m * 64, 64 * 4), 0);
      ASSERT_EQ(std::memcmp(one + 16, some.data() + m * 32, 32 * 4), 0);
    }
  }
}

TEST_P(MatMulTest, ExactSumsAddUpOverColumnParts) {
  const auto& [tested, dtype] = GetParam();
  const int64_t rows = 32, cols = 256, tokens = 33;
  const RandomTensor tensor = MakeTensor(dtype, rows, cols, 9);
  std::vector<int64_t> acc(rows * tokens, 0);
  std::vector<int64_t> expected(rows * tokens, 0);
  int not_exact = 0;
  for (int64_t begin : {int64_t{64}, int64_t{0}}) {
    const int64_t end = begin == 0 ? 64 : cols;
    const Packed part = Pack(tensor.view, {0, rows, begin, end});
    const Activations a(tokens, end - begin, 10);
    MatMulArgs args;
    part->Describe(&args);
    args.last_group = part->num_groups();
    args.rows = a.rows;
    args.x = a.x.data();
    args.x_stride = part->cols();
    args.num_tokens = tokens;
    args.sink = ProductSink::kAddExact;
    args.acc = acc.data();
    args.out_stride = rows;
    args.not_exact = &not_exact;
    tested.kernels->matmul(args);
    const std::vector<float> out = Product(*tested.kernels, *part, a, tokens);
    for (size_t i = 0; i < out.size(); ++i) {
      expected[i] += std::llrint(std::ldexp(double{out[i]}, 32));
    }
  }
  EXPECT_EQ(acc, expected);
  EXPECT_EQ(not_exact, 0);
}

TEST_P(MatMulTest, ExactSumRefusesWhatIsNotFinite) {
  const auto& [tested, dtype] = GetParam();
  const RandomTensor tensor = MakeTensor(dtype, 16, 256, 9);
  const Packed weights = Pack(tensor.view, {0, 16, 0, 256});
  const int64_t tokens = 33;
  for (int64_t at : {1, 17, 32}) {  // in each tile of 16, and behind them
    for (float bad : {std::nanf(""), __builtin_huge_valf(), 1e30f}) {
      Activations a(tokens, 256, 10);
      a.x[at * 256 + 33] = bad;
      tested.kernels->quantize(
          a.x.data() + at * 256, 256,
          {a.q.data() + at * 256, a.scale.data() + at * 8,
           a.scaled_sum.data() + at * 8, a.half_offset.data() + at * 16});
      std::vector<int64_t> acc(16 * tokens, 0);
      int not_exact = 0;
      MatMulArgs args;
      weights->Describe(&args);
      args.last_group = 1;
      args.rows = a.rows;
      args.x = a.x.data();
      args.x_stride = 256;
      args.num_tokens = tokens;
      args.sink = ProductSink::kAddExact;
      args.acc = acc.data();
      args.out_stride = 16;
      args.not_exact = &not_exact;
      tested.kernels->matmul(args);
      EXPECT_EQ(not_exact, 1) << bad << " in row " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatMulTest,
                         testing::Combine(testing::ValuesIn(AllTestedKernels()),
                                          testing::ValuesIn(kAllDTypes)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) +
                                  "_" + InfoOf(std::get<1>(info.param)).name;
                         });

TEST(PackedMatrixTest, RefusesQuantizedColumnsOffABlock) {
  const RandomTensor tensor = MakeTensor(DType::kQ4_1, 16, 64, 1);
  const absl::Status status =
      PackedMatrix::Pack(tensor.view, {0, 16, 16, 64}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("random"), std::string::npos);
}

}  // namespace
}  // namespace headwise
