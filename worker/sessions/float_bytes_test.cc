#include "worker/sessions/float_bytes.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr FloatType kTypes[] = {FloatType::kFp32, FloatType::kFp16,
                                FloatType::kBf16};

std::vector<uint8_t> BytesOf(FloatType type, const std::vector<float>& x) {
  std::vector<uint8_t> bytes(x.size() * FloatBytes(type));
  WriteFloats(type, x.data(), static_cast<int64_t>(x.size()), bytes.data());
  return bytes;
}

TEST(FloatBytesTest, WhatEveryTypeHoldsComesBack) {
  const std::vector<float> x = {0.0f, -0.0f, 1.0f, -2.5f, 0x1p-14f, 1024.0f};
  for (const FloatType type : kTypes) {
    SCOPED_TRACE(FloatTypeName(type));
    std::vector<float> read(x.size());
    ReadFloats(type, BytesOf(type, x).data(), 6, read.data());
    EXPECT_EQ(read, x);
    EXPECT_TRUE(std::signbit(read[1]));
  }
}

TEST(FloatBytesTest, FindsTheFirstThatIsNotFinite) {
  for (const FloatType type : kTypes) {
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      for (const int64_t at : {0, 255, 256, 599}) {
        SCOPED_TRACE(testing::Message()
                     << FloatTypeName(type) << " " << bad << " at " << at);
        std::vector<float> x(600, 1.0f);
        x[at] = bad;
        x[599] = bad;
        EXPECT_EQ(FirstNotBelow(type, BytesOf(type, x).data(), 600, INFINITY),
                  at);
      }
    }
    EXPECT_EQ(FirstNotBelow(type, BytesOf(type, std::vector<float>(600)).data(),
                            600, INFINITY),
              600);
  }
}

TEST(FloatBytesTest, ALimitRefusesWhatStorageCannotHold) {
  const std::vector<float> x = {65519.0f, 65520.0f};
  const auto bytes = BytesOf(FloatType::kFp32, x);
  EXPECT_EQ(FirstNotBelow(FloatType::kFp32, bytes.data(), 2, 65520.0f), 1);
}

}  // namespace
}  // namespace headwise
