#include "model/files/safetensors_container.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_bytes.h"
#include "model/files/test_model_writer.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A header with its padding to 8 bytes, then the buffer.
std::string File(std::string header, const std::string& buffer) {
  header.append((8 - header.size() % 8) % 8, ' ');
  return WriteSafetensors(header, buffer);
}

void ExpectError(const std::string& file, absl::StatusCode code,
                 const std::string& words) {
  const TestBytes bytes(file);
  const auto result = ParseSafetensorsContainer(bytes.span());
  ASSERT_FALSE(result.ok()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
}
void ExpectInvalid(const std::string& file, const std::string& words) {
  ExpectError(file, absl::StatusCode::kInvalidArgument, words);
}

// One tensor's member of the header.
std::string Entry(const std::string& name, const std::string& dtype,
                  const std::string& shape, const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":[",
                      shape, "],\"data_offsets\":[", offsets, "]}");
}
std::string OneTensor(const std::string& dtype, const std::string& shape,
                      const std::string& offsets, size_t buffer_bytes = 24) {
  return File("{" + Entry("t", dtype, shape, offsets) + "}",
              std::string(buffer_bytes, 'x'));
}

TEST(SafetensorsContainer, ReadsTensorsInTheOrderOfTheirBytes) {
  const TestBytes bytes(
      File("{" + Entry("b", "F32", "2,3", "0,24") + "," +
               Entry("a", "BF16", "4", "24,32") + "," +
               Entry("scalar", "F16", "", "32,34") +
               R"(,"__metadata__":{"format":"pt","x":""}})",
           std::string(24, 'b') + std::string(8, 'a') + "ss"));
  const auto container = ParseSafetensorsContainer(bytes.span());
  ASSERT_TRUE(container.ok()) << container.status();
  ASSERT_EQ(container->tensors.size(), 3u);
  EXPECT_EQ(container->tensors[0].name, "b");
  EXPECT_THAT(container->tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(container->tensors[0].bytes[23], 'b');
  EXPECT_EQ(container->tensors[1].name, "a");
  EXPECT_EQ(container->tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(container->tensors[1].bytes[0], 'a');
  EXPECT_EQ(container->tensors[1].bytes.size(), 8u);
  EXPECT_TRUE(container->tensors[2].shape.empty());
  EXPECT_EQ(container->metadata.at("format"), "pt");
}

TEST(SafetensorsContainer, EmptyFileOfNoTensors) {
  const TestBytes bytes(File("{}", ""));
  const auto container = ParseSafetensorsContainer(bytes.span());
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_TRUE(container->tensors.empty());
}

// reliability.md, case 50, its parts in order.

TEST(SafetensorsHostile, HeaderLengthMax) {
  const uint64_t max = std::numeric_limits<uint64_t>::max();
  for (const uint64_t length : {max, max - 7, uint64_t{1} << 63}) {
    ExpectInvalid(RawBytes(length) + "{}      ",
                  absl::StrCat("declares ", length, " bytes"));
  }
}

TEST(SafetensorsHostile, HeaderLongerThanTheFile) {
  ExpectInvalid(RawBytes<uint64_t>(9) + "{}      ",
                "declares 9 bytes; the limit is 100000000 and 8 bytes remain");
  ExpectInvalid(RawBytes<uint64_t>(99'999'999) + "{}      ", "8 bytes remain");
}

// Pages of the mapping that are never read cost nothing.
TEST(SafetensorsHostile, HeaderOver100Megabytes) {
  std::string file = RawBytes<uint64_t>(100'000'001) + "{}";
  file.resize(8 + 100'000'001, ' ');
  ExpectInvalid(file, "declares 100000001 bytes; the limit is 100000000");
}

TEST(SafetensorsHostile, ShorterThanTheLengthField) {
  for (size_t size = 0; size < 8; ++size) {
    ExpectInvalid(std::string(size, '\0'), "no room for the header's length");
  }
  ExpectInvalid(std::string(8, '\0'), "does not begin with {");
}

TEST(SafetensorsHostile, DuplicateKeys) {
  const std::string entry = Entry("t", "F32", "6", "0,24");
  ExpectInvalid(File("{" + entry + "," + entry + "}", std::string(24, 'x')),
                "tensor \"t\" occurs twice");
  ExpectInvalid(File(R"({"__metadata__":{"a":"b","a":"c"}})", ""),
                "metadata key \"a\" occurs twice");
  ExpectInvalid(File(R"({"__metadata__":{},"__metadata__":{}})", ""),
                "occurs twice");
  for (const char* member :
       {R"("dtype":"F32")", R"("shape":[6])", R"("data_offsets":[0,24])"}) {
    const std::string twice = absl::StrCat(
        R"({"t":{"dtype":"F32","shape":[6],"data_offsets":[0,24],)", member,
        "}}");
    ExpectInvalid(File(twice, std::string(24, 'x')),
                  "is unknown or occurs twice");
  }
}

TEST(SafetensorsHostile, OverlappingOffsets) {
  ExpectInvalid(File("{" + Entry("a", "F32", "4", "0,16") + "," +
                         Entry("b", "F32", "4", "8,24") + "}",
                     std::string(24, 'x')),
                "tensor \"b\" begins at 8 and overlaps");
  ExpectInvalid(File("{" + Entry("a", "F32", "4", "0,16") + "," +
                         Entry("b", "F32", "4", "0,16") + "}",
                     std::string(16, 'x')),
                "overlaps");
}

TEST(SafetensorsHostile, GappedOffsets) {
  ExpectInvalid(File("{" + Entry("a", "F32", "2", "0,8") + "," +
                         Entry("b", "F32", "2", "16,24") + "}",
                     std::string(24, 'x')),
                "tensor \"b\" begins at 16 and leaves a gap");
  ExpectInvalid(OneTensor("F32", "4", "8,24"), "begins at 8 and leaves a gap");
  ExpectInvalid(OneTensor("F32", "4", "0,16"),
                "tensors end at 16 in a buffer of 24 bytes");
}

TEST(SafetensorsHostile, ShapeTimesDTypeIsNotTheSpan) {
  ExpectInvalid(OneTensor("F32", "5", "0,24"),
                "span 24 bytes, but shape and dtype F32 want 20");
  ExpectInvalid(OneTensor("F16", "2,3", "0,24"), "want 12");
  ExpectInvalid(OneTensor("F32", "0", "0,24"), "want 0");
  ExpectInvalid(OneTensor("F32", "4294967296,4294967296", "0,24"),
                "want more than 2^63 - 1");
  ExpectInvalid(OneTensor("F32", "9223372036854775807", "0,24"),
                "want more than 2^63 - 1");
}

TEST(SafetensorsHostile, OffsetsOutsideTheBuffer) {
  ExpectInvalid(OneTensor("F32", "7", "0,28"),
                "data_offsets [0, 28] in a buffer of 24 bytes");
  ExpectInvalid(OneTensor("F32", "6", "24,0"), "data_offsets [24, 0]");
  ExpectInvalid(OneTensor("F32", "6", "0,9223372036854775807"),
                "data_offsets [0, 9223372036854775807]");
  ExpectInvalid(OneTensor("F32", "6", "9223372036854775808,1"),
                "9223372036854775808 exceeds the limit");
  ExpectInvalid(OneTensor("F32", "6", "-24,0"), "negative number -24");
  ExpectInvalid(OneTensor("F32", "6", "0"), "two data_offsets missing");
  ExpectInvalid(OneTensor("F32", "6", "0,24,24"), "unexpected number");
}

TEST(SafetensorsHostile, NumbersThatAreNoWholeOnes) {
  ExpectInvalid(OneTensor("F32", "6.0", "0,24"), "6.0 is not a whole number");
  ExpectInvalid(OneTensor("F32", "6e0", "0,24"), "not a whole number");
  ExpectInvalid(OneTensor("F32", "99999999999999999999", "0,24"),
                "not a whole number");
  ExpectInvalid(OneTensor("F32", "-6", "0,24"), "negative number -6");
  ExpectInvalid(OneTensor("F32", "1,1,1,1,1,1,1,1,6", "0,24"),
                "more dimensions than the limit 8");
}

TEST(SafetensorsHostile, MisalignedTensors) {
  // A header of 65 bytes puts the buffer at byte 73 of the file.
  std::string header = "{" + Entry("t", "F32", "6", "0,24") + "}";
  header.append(65 - header.size(), ' ');
  ExpectInvalid(WriteSafetensors(header, std::string(24, 'x')),
                "begins at byte 73 of the file, not a multiple of 4");
}

TEST(SafetensorsHostile, DeepNesting) {
  ExpectInvalid(File("{\"t\":" + std::string(1'000'000, '['), ""),
                "unexpected array");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"t\":";
  ExpectInvalid(File(objects, ""), "key \"t\" is unknown");
}

TEST(SafetensorsHostile, OtherStructures) {
  ExpectInvalid(File("{\"t\":1}", ""), "unexpected number");
  ExpectInvalid(File("{\"t\":null}", ""), "unexpected null");
  ExpectInvalid(File("{\"t\":true}", ""), "unexpected a boolean");
  ExpectInvalid(File("{\"t\":\"F32\"}", ""), "unexpected string");
  ExpectInvalid(File("{\"t\":{}}", ""), "missing");
  ExpectInvalid(File("{\"t\":{\"dtype\":[]}}", ""), "unexpected array");
  ExpectInvalid(File("{\"t\":{\"shape\":[[1]]}}", ""), "unexpected array");
  ExpectInvalid(File("{\"t\":{\"extra\":1}}", ""), "key \"extra\" is unknown");
  ExpectInvalid(File(R"({"__metadata__":{"a":1}})", ""), "unexpected number");
  ExpectInvalid(File("[]", ""), "does not begin with {");
  ExpectInvalid(File("{} {}", ""), "byte");
  ExpectInvalid(File("{", ""), "byte");
}

TEST(SafetensorsHostile, OtherDTypesAreNamed) {
  for (const char* dtype : {"F64", "I64", "F8_E4M3", "BOOL", "Q4_1", "f32"}) {
    ExpectError(OneTensor(dtype, "6", "0,24"), absl::StatusCode::kUnimplemented,
                absl::StrCat("dtype \"", dtype, "\""));
  }
}

TEST(SafetensorsHostile, TruncationAtEveryByte) {
  const std::string whole = OneTensor("F32", "6", "0,24");
  for (size_t size = 0; size < whole.size(); ++size) {
    const TestBytes bytes(whole.substr(0, size));
    ASSERT_EQ(ParseSafetensorsContainer(bytes.span()).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

}  // namespace
}  // namespace headwise
