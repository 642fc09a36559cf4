#include <array>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/half_floats.h"
#include "model/files/test_model_weights.h"
#include "model/model.h"
#include "model/tensor.h"

namespace headwise {
namespace {

using testing::Each;
using testing::ElementsAre;

// Written apart from the tables under test, from the formats' definitions.
struct FormatSize {
  DType dtype;
  const char* name;
  int64_t block_len;
  int64_t block_bytes;
};
constexpr FormatSize kFormatSizes[] = {
    {DType::kF32, "F32", 1, 4},       {DType::kF16, "F16", 1, 2},
    {DType::kBF16, "BF16", 1, 2},     {DType::kQ8_0, "Q8_0", 32, 34},
    {DType::kQ4_0, "Q4_0", 32, 18},   {DType::kQ4_1, "Q4_1", 32, 20},
    {DType::kQ5_0, "Q5_0", 32, 22},   {DType::kQ5_1, "Q5_1", 32, 24},
    {DType::kQ4_K, "Q4_K", 256, 144}, {DType::kQ5_K, "Q5_K", 256, 176},
    {DType::kQ6_K, "Q6_K", 256, 210},
};

TEST(InfoOf, NamesAndSizesAreGgmls) {
  for (const FormatSize& format : kFormatSizes) {
    const DTypeInfo& info = InfoOf(format.dtype);
    EXPECT_STREQ(info.name, format.name);
    EXPECT_EQ(info.block_len, format.block_len) << format.name;
    EXPECT_EQ(info.block_bytes, format.block_bytes) << format.name;
  }
}

class Block {
 public:
  explicit Block(DType dtype) : dtype_(dtype) {}
  Block& U8(int value, int count = 1) {
    bytes_.insert(bytes_.end(), count, static_cast<uint8_t>(value));
    return *this;
  }
  Block& Fp16(float value) {
    const uint16_t half = FloatToFp16(value);
    return U8(half & 255).U8(half >> 8);
  }
  Block& Random(int count, std::mt19937& random) {
    for (int i = 0; i < count; ++i) U8(static_cast<int>(random() & 255));
    return *this;
  }
  std::vector<uint8_t>& bytes() { return bytes_; }

  std::vector<float> Dequantized() const {
    const DTypeInfo& info = InfoOf(dtype_);
    EXPECT_EQ(static_cast<int64_t>(bytes_.size()), info.block_bytes);
    TensorView view;
    view.dtype = dtype_;
    view.shape = {info.block_len};
    view.bytes = bytes_;
    std::vector<float> out(info.block_len);
    DequantizeRow(view, 0, absl::MakeSpan(out));
    return out;
  }

 private:
  DType dtype_;
  std::vector<uint8_t> bytes_;
};

TEST(DequantizeRow, Q8_0) {
  Block block(DType::kQ8_0);
  block.Fp16(0.5f).U8(3).U8(-128).U8(0, 29).U8(127);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], 1.5f);
  EXPECT_EQ(x[1], -64.0f);
  EXPECT_EQ(x[2], 0.0f);
  EXPECT_EQ(x[31], 63.5f);
}

TEST(DequantizeRow, Q4_0) {
  Block block(DType::kQ4_0);
  block.Fp16(2.0f).U8(0xf0).U8(0x88, 14).U8(0x1a);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], -16.0f);   // low nibble 0
  EXPECT_EQ(x[16], 14.0f);   // high nibble 15
  EXPECT_EQ(x[1], 0.0f);     // 8
  EXPECT_EQ(x[15], 4.0f);    // 10
  EXPECT_EQ(x[31], -14.0f);  // 1
}

TEST(DequantizeRow, Q4_1) {
  Block block(DType::kQ4_1);
  block.Fp16(0.25f).Fp16(-1.0f).U8(0xf0).U8(0, 14).U8(0x4c);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], -1.0f);
  EXPECT_EQ(x[16], 2.75f);
  EXPECT_EQ(x[15], 2.0f);
  EXPECT_EQ(x[31], 0.0f);
}

// Bits 0, 15, 16 and 31 of the high word belong to elements of that number.
TEST(DequantizeRow, Q5_0) {
  Block block(DType::kQ5_0);
  block.Fp16(1.0f).U8(0x01).U8(0x80).U8(0x01).U8(0x80);
  block.U8(0xf3).U8(0, 14).U8(0x21);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], 3.0f);     // 16 + 3 - 16
  EXPECT_EQ(x[16], 15.0f);   // 16 + 15 - 16
  EXPECT_EQ(x[15], 1.0f);    // 16 + 1 - 16
  EXPECT_EQ(x[31], 2.0f);    // 16 + 2 - 16
  EXPECT_EQ(x[1], -16.0f);   // 0 - 16
  EXPECT_EQ(x[30], -16.0f);  // 0 - 16
}

TEST(DequantizeRow, Q5_1) {
  Block block(DType::kQ5_1);
  block.Fp16(2.0f).Fp16(0.5f).U8(0x02).U8(0).U8(0).U8(0x40);
  block.U8(0x21).U8(0x30).U8(0, 12).U8(0x50).U8(0);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], 2.5f);    // 1
  EXPECT_EQ(x[1], 32.5f);   // 16
  EXPECT_EQ(x[16], 4.5f);   // 2
  EXPECT_EQ(x[30], 42.5f);  // 16 + 5
  EXPECT_EQ(x[31], 0.5f);   // 0
}

// All groups have the same scale and min, so the packing does not matter here.
TEST(DequantizeRow, Q4_K) {
  Block block(DType::kQ4_K);
  block.Fp16(0.5f).Fp16(0.25f);
  // scale 2 and min 3: groups 0-3 plain, 4-7 as low nibbles of bytes 8-11.
  block.U8(2, 4).U8(3, 4).U8(0x32, 4).U8(0x71, 128);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], 0.25f);    // 0.5 * 2 * 1 - 0.25 * 3
  EXPECT_EQ(x[32], 6.25f);   // 0.5 * 2 * 7 - 0.25 * 3
  EXPECT_EQ(x[192], 0.25f);  // group 6
  EXPECT_EQ(x[255], 6.25f);  // group 7
}

TEST(DequantizeRow, Q5_K) {
  Block block(DType::kQ5_K);
  block.Fp16(1.0f).Fp16(1.0f);
  block.U8(1, 4).U8(2, 4).U8(0x21, 4);
  // Element 0 of each group has its fifth bit in byte 0: groups 1 and 6 set.
  block.U8(0x42).U8(0, 31).U8(0x93, 128);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], 1.0f);        // 3 - 2
  EXPECT_EQ(x[32], 23.0f);      // 16 + 9 - 2
  EXPECT_EQ(x[33], 7.0f);       // 9 - 2
  EXPECT_EQ(x[6 * 32], 17.0f);  // 16 + 3 - 2
}

TEST(DequantizeRow, Q6_K) {
  Block block(DType::kQ6_K);
  block.U8(0x52, 128).U8(0xe4, 64);  // upper bits 0, 1, 2, 3 of runs 0 to 3
  block.U8(1, 8).U8(-2, 8).Fp16(0.5f);
  const std::vector<float> x = block.Dequantized();
  EXPECT_EQ(x[0], -15.0f);   // 2 - 32
  EXPECT_EQ(x[32], -7.0f);   // 2 + 16 - 32
  EXPECT_EQ(x[64], 2.5f);    // 5 + 32 - 32
  EXPECT_EQ(x[96], 10.5f);   // 5 + 48 - 32
  EXPECT_EQ(x[128], 30.0f);  // second half: scale -2
  EXPECT_EQ(x[255], -21.0f);
}

TEST(DequantizeRow, FloatFormatsAreExact) {
  Block f32(DType::kF32);
  f32.U8(0).U8(0).U8(0xc0).U8(0xbf);
  EXPECT_THAT(f32.Dequantized(), ElementsAre(-1.5f));
  Block f16(DType::kF16);
  f16.U8(0x00).U8(0x3e);
  EXPECT_THAT(f16.Dequantized(), ElementsAre(1.5f));
  Block bf16(DType::kBF16);
  bf16.U8(0xc0).U8(0x3f);
  EXPECT_THAT(bf16.Dequantized(), ElementsAre(1.5f));
}

// A second implementation that finds each element's bits by its index in the
// 256, one element at a time, in double. Rounding of the fp32 one: two products
// and a difference, each of at most half an ulp of |d s q| + |dmin m|.
struct Expected {
  double value;
  double magnitude;
};

int BitsOf(const std::vector<uint8_t>& bytes, int first_bit, int count) {
  int value = 0;
  for (int i = 0; i < count; ++i) {
    const int bit = first_bit + i;
    value |= ((bytes[bit / 8] >> (bit % 8)) & 1) << i;
  }
  return value;
}

double Fp16At(const std::vector<uint8_t>& bytes, int offset) {
  return Fp16ToFloat(
      static_cast<uint16_t>(bytes[offset] | (bytes[offset + 1] << 8)));
}

// Of Q4_K (`low` = 16, no high bits) and Q5_K (`high` = 16, `low` = 48).
Expected KQuantElement(const std::vector<uint8_t>& bytes, int i, int high,
                       int low) {
  const int group = i / 32;
  const int within = i % 32;
  int scale, min;
  if (group < 4) {
    scale = BitsOf(bytes, (4 + group) * 8, 6);
    min = BitsOf(bytes, (8 + group) * 8, 6);
  } else {
    scale = BitsOf(bytes, (8 + group) * 8, 4) +
            16 * BitsOf(bytes, group * 8 + 6, 2);
    min = BitsOf(bytes, (8 + group) * 8 + 4, 4) +
          16 * BitsOf(bytes, (4 + group) * 8 + 6, 2);
  }
  const int byte = low + group / 2 * 32 + within;
  int q = BitsOf(bytes, byte * 8 + group % 2 * 4, 4);
  if (high > 0) q += 16 * BitsOf(bytes, (high + within) * 8 + group, 1);
  const double product = Fp16At(bytes, 0) * scale * q;
  const double offset = Fp16At(bytes, 2) * min;
  return {product - offset, std::abs(product) + std::abs(offset)};
}

Expected Q6KElement(const std::vector<uint8_t>& bytes, int i) {
  const int half = i / 128;
  const int in_half = i % 128;
  const int low_byte = half * 64 + in_half % 64;
  const int high_byte = 128 + half * 32 + in_half % 32;
  const int q = BitsOf(bytes, low_byte * 8 + in_half / 64 * 4, 4) +
                16 * BitsOf(bytes, high_byte * 8 + in_half / 32 * 2, 2) - 32;
  const int scale = static_cast<int8_t>(bytes[192 + i / 16]);
  const double value = Fp16At(bytes, 208) * scale * q;
  return {value, std::abs(value)};
}

TEST(DequantizeRow, KQuantsEqualASecondImplementationOnRandomBlocks) {
  constexpr uint32_t kSeed = 20240611;
  std::mt19937 random(kSeed);
  for (int repeat = 0; repeat < 200; ++repeat) {
    Block q4(DType::kQ4_K), q5(DType::kQ5_K), q6(DType::kQ6_K);
    q4.Fp16(0.013f).Fp16(0.21f).Random(140, random);
    q5.Fp16(-0.017f).Fp16(0.11f).Random(172, random);
    q6.Random(208, random).Fp16(0.0031f);
    const std::vector<float> x4 = q4.Dequantized();
    const std::vector<float> x5 = q5.Dequantized();
    const std::vector<float> x6 = q6.Dequantized();
    for (int i = 0; i < 256; ++i) {
      SCOPED_TRACE(testing::Message() << "repeat " << repeat << " element " << i
                                      << " seed " << kSeed);
      const Expected e4 = KQuantElement(q4.bytes(), i, 0, 16);
      const Expected e5 = KQuantElement(q5.bytes(), i, 16, 48);
      const Expected e6 = Q6KElement(q6.bytes(), i);
      ASSERT_LE(std::abs(x4[i] - e4.value), 3 * 0x1p-24 * e4.magnitude);
      ASSERT_LE(std::abs(x5[i] - e5.value), 3 * 0x1p-24 * e5.magnitude);
      ASSERT_LE(std::abs(x6[i] - e6.value), 3 * 0x1p-24 * e6.magnitude);
    }
  }
}

// Rows of several blocks: the second row begins where row_bytes says.
TEST(DequantizeRow, FindsRowsOfSeveralBlocks) {
  std::vector<uint8_t> bytes;
  for (int block = 0; block < 6; ++block) {
    Block q8(DType::kQ8_0);
    q8.Fp16(1.0f).U8(block, 32);
    bytes.insert(bytes.end(), q8.bytes().begin(), q8.bytes().end());
  }
  TensorView view;
  view.dtype = DType::kQ8_0;
  view.shape = {2, 96};
  view.bytes = bytes;
  EXPECT_EQ(view.row_bytes(), 3 * 34);
  std::vector<float> row(96);
  DequantizeRow(view, 1, absl::MakeSpan(row));
  EXPECT_THAT(std::vector<float>(row.begin(), row.begin() + 32), Each(3.0f));
  EXPECT_THAT(std::vector<float>(row.begin() + 64, row.end()), Each(5.0f));
}

TEST(DequantizeRow, DiesOnARowOutsideTheTensor) {
  Block block(DType::kF32);
  block.U8(0, 4);
  TensorView view;
  view.shape = {1};
  view.bytes = block.bytes();
  std::vector<float> out(1);
  EXPECT_DEATH(DequantizeRow(view, 1, absl::MakeSpan(out)), "row");
  EXPECT_DEATH(DequantizeRow(view, 0, absl::Span<float>()), "size");
}

// The random blocks of test models must have the spread that they promise:
// variance 1 / columns, within the factor that the jitter of scales leaves.
TEST(TinyWeights, QuantizedMatricesHaveTheSpreadOfFloatOnes) {
  for (const FormatSize& format : kFormatSizes) {
    TinyModelOptions options;
    options.model_dim = 256;
    options.ffn_dim = 256;
    options.head_dim = 64;
    options.num_layers = 1;
    options.dtype = format.dtype;
    const TinyTensor embedding = MakeTinyWeights(options)[0];
    const TensorView view = embedding.View();
    std::vector<float> row(view.cols());
    double sum = 0;
    for (int64_t r = 0; r < view.rows(); ++r) {
      DequantizeRow(view, r, absl::MakeSpan(row));
      for (const float x : row) sum += double{x} * x;
    }
    const double variance = sum / static_cast<double>(view.rows());
    EXPECT_GT(variance, 0.2) << format.name;
    EXPECT_LT(variance, 1.3) << format.name;
  }
}

}  // namespace
}  // namespace headwise
