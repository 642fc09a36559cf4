#include "server/selection/decompressor.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/input_fixture.h"

namespace headwise {
namespace {

using testing::StartsWith;

struct Unpacked {
  std::string text;
  bool is_broken = false;
};

struct Format {
  const char* name;
  Compression compression;
  std::string (*pack)(absl::string_view);
};

class DecompressorTest : public testing::TestWithParam<Format> {
 protected:
  static std::string Pack(absl::string_view text) {
    return GetParam().pack(text);
  }
  // `packed` comes `step` bytes at a time; `step` bytes are asked for at a
  // time.
  static Unpacked Unpack(const std::string& packed, size_t step = 100'000) {
    StringReader source(packed, step);
    const auto reader = Decompressor::Create(GetParam().compression, &source);
    std::vector<char> buffer(step);
    Unpacked unpacked;
    while (true) {
      const auto size = reader->Read(absl::MakeSpan(buffer));
      EXPECT_TRUE(size.ok()) << size.status();
      if (!size.ok() || *size == 0) break;
      unpacked.text.append(buffer.data(), *size);
    }
    unpacked.is_broken = reader->is_broken();
    const auto end = reader->Read(absl::MakeSpan(buffer));
    EXPECT_TRUE(end.ok() && *end == 0);
    return unpacked;
  }

  // 300 kB that shrink to about a quarter.
  static std::string LongText() {
    std::string text;
    uint32_t state = 12345;
    while (text.size() < 300'000) {
      state = state * 1664525u + 1013904223u;
      text += "word" + std::to_string(state >> 20) + " ";
    }
    return text;
  }
};

TEST_P(DecompressorTest, UnpacksWholeAndConcatenatedMembers) {
  const std::string text = LongText();
  const std::string packed = Pack(text) + Pack("") + Pack("second") + Pack("!");
  for (const size_t step : {7, 1000, 1'000'000}) {
    SCOPED_TRACE(step);
    const Unpacked unpacked = Unpack(packed, step);
    EXPECT_EQ(unpacked.text, text + "second!");
    EXPECT_FALSE(unpacked.is_broken);
  }
}

TEST_P(DecompressorTest, NothingIsWholeToo) {
  EXPECT_FALSE(Unpack("").is_broken);
  EXPECT_FALSE(Unpack(Pack("")).is_broken);
}

TEST_P(DecompressorTest, ACutIsABreakAtEveryPlaceButBetweenMembers) {
  const std::string first = Pack("first\n");
  const std::string packed = first + Pack("second\n");
  for (size_t size = 0; size < packed.size(); ++size) {
    SCOPED_TRACE(size);
    const Unpacked unpacked = Unpack(packed.substr(0, size));
    EXPECT_EQ(unpacked.is_broken, size != 0 && size != first.size());
    EXPECT_THAT(std::string("first\nsecond\n"), StartsWith(unpacked.text));
    if (size >= first.size()) {
      EXPECT_THAT(unpacked.text, StartsWith("first\n"));
    }
  }
}

// What comes before a break does not depend on how it was read.
TEST_P(DecompressorTest, ACutLosesLittleAndAlwaysTheSame) {
  const std::string text = LongText();
  const std::string packed = Pack(text);
  const std::string half = packed.substr(0, packed.size() / 2);
  const Unpacked unpacked = Unpack(half);
  EXPECT_TRUE(unpacked.is_broken);
  EXPECT_THAT(text, StartsWith(unpacked.text));
  // A zstd block is up to 128 kB, of 300 kB here.
  EXPECT_GE(unpacked.text.size(), 128u << 10);
  EXPECT_EQ(Unpack(half, 7).text, unpacked.text);
  EXPECT_EQ(Unpack(half, 1000).text, unpacked.text);
}

TEST_P(DecompressorTest, ABadCheckSumIsABreakAfterTheContent) {
  std::string packed = Pack("some content");
  // gzip ends with the sum and the length, 4 bytes each; zstd with the sum.
  packed[packed.size() - 5] ^= 1;
  packed[packed.size() - 1] ^= 1;
  const Unpacked unpacked = Unpack(packed);
  EXPECT_TRUE(unpacked.is_broken);
}

TEST_P(DecompressorTest, WhatIsOfNoFormatIsABreak) {
  EXPECT_TRUE(Unpack("{\"text\": \"not packed\"}\n").is_broken);
  const Unpacked unpacked = Unpack(Pack("whole") + "and then this");
  EXPECT_EQ(unpacked.text, "whole");
  EXPECT_TRUE(unpacked.is_broken);
}

TEST_P(DecompressorTest, GivesTheErrorOfItsSource) {
  class Failing final : public ByteReader {
    absl::StatusOr<size_t> Read(absl::Span<char>) override {
      return absl::DataLossError("gone");
    }
  } source;
  const auto reader = Decompressor::Create(GetParam().compression, &source);
  char byte;
  EXPECT_EQ(reader->Read(absl::MakeSpan(&byte, 1)).status(),
            absl::DataLossError("gone"));
}

INSTANTIATE_TEST_SUITE_P(
    Formats, DecompressorTest,
    testing::Values(Format{"Gzip", Compression::kGzip, &GzipOf},
                    Format{"Zstd", Compression::kZstd, &ZstdOf}),
    [](const auto& info) { return info.param.name; });

// 40 bytes may ask for gigabytes of window; they get none.
TEST(ZstdDecompressorTest, RefusesAWindowAboveTheLimit) {
  // Magic; no content size, no checksum, no dictionary; window of 2^31 bytes;
  // one last raw block of one byte.
  const std::string packed("\x28\xB5\x2F\xFD\x00\xA8\x09\x00\x00x", 10);
  StringReader source(packed, 100);
  const auto reader = Decompressor::Create(Compression::kZstd, &source);
  char byte;
  const auto size = reader->Read(absl::MakeSpan(&byte, 1));
  ASSERT_TRUE(size.ok()) << size.status();
  EXPECT_EQ(*size, 0u);
  EXPECT_TRUE(reader->is_broken());
}

// A raw block of "hello", then one of the type that the format reserves.
TEST(ZstdDecompressorTest, ABadBlockCostsNoBlockBeforeIt) {
  const std::string packed(
      "\x28\xB5\x2F\xFD\x00\x50\x28\x00\x00hello"
      "\x0E\x00\x00x",
      18);
  StringReader source(packed, 100);
  const auto reader = Decompressor::Create(Compression::kZstd, &source);
  std::vector<char> buffer(1 << 20);
  EXPECT_EQ(*reader->Read(absl::MakeSpan(buffer)), 5u);
  EXPECT_EQ(*reader->Read(absl::MakeSpan(buffer)), 0u);
  EXPECT_TRUE(reader->is_broken());
}

TEST(ZstdDecompressorTest, ReadsAWindowAtTheLimit) {
  const std::string packed("\x28\xB5\x2F\xFD\x00\x88\x09\x00\x00x", 10);
  StringReader source(packed, 100);
  const auto reader = Decompressor::Create(Compression::kZstd, &source);
  char byte;
  const auto size = reader->Read(absl::MakeSpan(&byte, 1));
  ASSERT_TRUE(size.ok()) << size.status();
  EXPECT_EQ(*size, 1u);
}

TEST(ZstdDecompressorTest, SkipsSkippableFrames) {
  const std::string skippable("\x50\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);
  StringReader source(skippable + ZstdOf("a") + skippable, 4);
  const auto reader = Decompressor::Create(Compression::kZstd, &source);
  char bytes[4];
  EXPECT_EQ(*reader->Read(absl::MakeSpan(bytes)), 1u);
  EXPECT_EQ(*reader->Read(absl::MakeSpan(bytes)), 0u);
  EXPECT_FALSE(reader->is_broken());
}

}  // namespace
}  // namespace headwise
