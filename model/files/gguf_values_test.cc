#include "model/files/gguf_values.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_bytes.h"
#include "model/files/test_gguf_writer.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr uint64_t kHuge = uint64_t{1} << 63;

TEST(GgufValues, WrongTypesNameKeyAndBothTypes) {
  GgufWriter writer;
  writer.AddUint32("count", 7);
  writer.AddTextArray("words", {"a", "", "ccc"});
  writer.AddFloat32("real", 0.5f);
  writer.AddRaw("huge", static_cast<uint32_t>(GgufType::kUint64),
                RawBytes(kHuge));
  const TestBytes bytes(writer.Finish());
  const auto gguf = ParseGgufContainer(bytes.span());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const auto message = [](const auto& result) {
    return std::string(result.status().message());
  };
  EXPECT_THAT(message(FindInt(*gguf, "real")),
              HasSubstr("\"real\" has type float32, want an integer"));
  EXPECT_THAT(message(FindInt(*gguf, "huge")), HasSubstr("below 2^63"));
  EXPECT_THAT(message(FindInt(*gguf, "words")),
              HasSubstr("has type array of string"));
  EXPECT_THAT(message(FindReal(*gguf, "count")), HasSubstr("want float32"));
  EXPECT_THAT(message(FindBool(*gguf, "count")), HasSubstr("want bool"));
  EXPECT_THAT(message(FindText(*gguf, "count")), HasSubstr("want string"));
  EXPECT_THAT(message(Int32Array(*gguf, "words", 9)),
              HasSubstr("array of string, want array of int32"));
  EXPECT_THAT(message(TextArray(*gguf, "words", 2)),
              HasSubstr("has 3 elements; the limit is 2"));
  EXPECT_THAT(message(RequireInt(*gguf, "none")), HasSubstr("is missing"));
}

TEST(GgufValues, IntegersOfEveryWidth) {
  GgufWriter writer;
  writer.AddRaw("u8", 0, RawBytes<uint8_t>(200));
  writer.AddRaw("i8", 1, RawBytes<int8_t>(-100));
  writer.AddRaw("u16", 2, RawBytes<uint16_t>(60000));
  writer.AddRaw("i16", 3, RawBytes<int16_t>(-30000));
  writer.AddRaw("i32", 5, RawBytes<int32_t>(-2));
  writer.AddRaw("u64", 10, RawBytes<uint64_t>(kHuge - 1));
  writer.AddRaw("i64", 11, RawBytes<int64_t>(-3));
  writer.AddRaw("f64", 12, RawBytes(0.1));
  const TestBytes bytes(writer.Finish());
  const auto gguf = ParseGgufContainer(bytes.span());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(*RequireInt(*gguf, "u8"), 200);
  EXPECT_EQ(*RequireInt(*gguf, "i8"), -100);
  EXPECT_EQ(*RequireInt(*gguf, "u16"), 60000);
  EXPECT_EQ(*RequireInt(*gguf, "i16"), -30000);
  EXPECT_EQ(*RequireInt(*gguf, "i32"), -2);
  EXPECT_EQ(*RequireInt(*gguf, "u64"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(*RequireInt(*gguf, "i64"), -3);
  EXPECT_EQ(*RequireReal(*gguf, "f64"), 0.1);
}

TEST(GgufValues, TextForPeopleCutsArraysAndEscapes) {
  GgufWriter writer;
  writer.AddInt32Array("ints", {1, -2, 3, 4, 5});
  writer.AddTextArray("words", {"a\n", "b"});
  writer.AddBool("flag", true);
  writer.AddTextArray("none", {});
  const TestBytes bytes(writer.Finish());
  const auto gguf = ParseGgufContainer(bytes.span());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(GgufValueText(*gguf->Find("ints")), "int32[5] 1, -2, 3, 4, ...");
  EXPECT_EQ(GgufValueText(*gguf->Find("words")), "string[2] a\\n, b");
  EXPECT_EQ(GgufValueText(*gguf->Find("flag")), "true");
  EXPECT_EQ(GgufValueText(*gguf->Find("none")), "string[0] ");
}

}  // namespace
}  // namespace headwise
