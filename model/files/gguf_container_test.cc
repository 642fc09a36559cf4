#include "model/files/gguf_container.h"

#include <functional>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/gguf_values.h"
#include "model/files/test_bytes.h"
#include "model/files/test_gguf_writer.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kHuge = uint64_t{1} << 63;
constexpr uint32_t kText = static_cast<uint32_t>(GgufType::kString);
constexpr uint32_t kArray = static_cast<uint32_t>(GgufType::kArray);

// The parse's error must have this code and name this.
void ExpectError(const std::string& file, absl::StatusCode code,
                 const std::string& words) {
  const TestBytes bytes(file);
  const auto result = ParseGgufContainer(bytes.span());
  ASSERT_FALSE(result.ok()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
}
void ExpectInvalid(const std::string& file, const std::string& words) {
  ExpectError(file, absl::StatusCode::kInvalidArgument, words);
}

GgufWriter SmallFile() {
  GgufWriter writer;
  writer.AddText("general.architecture", "llama");
  writer.AddUint32("count", 7);
  writer.AddTextArray("words", {"a", "", "ccc"});
  writer.AddTensor("first", {2, 3}, DType::kF32, std::string(24, 'x'));
  writer.AddTensor("second", {32}, DType::kQ8_0, std::string(34, 'y'));
  return writer;
}

TEST(GgufContainer, ReadsKeysAndTensorsOfBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = SmallFile();
    writer.set_version(version);
    const TestBytes bytes(writer.Finish());
    const auto gguf = ParseGgufContainer(bytes.span());
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    EXPECT_EQ(gguf->version, version);
    EXPECT_EQ(gguf->entries.size(), 3u);
    EXPECT_EQ(**FindInt(*gguf, "count"), 7);
    EXPECT_EQ(**FindText(*gguf, "general.architecture"), "llama");
    EXPECT_THAT(*TextArray(*gguf, "words", 3), ElementsAre("a", "", "ccc"));
    ASSERT_EQ(gguf->tensors.size(), 2u);
    EXPECT_EQ(gguf->tensors[0].name, "first");
    EXPECT_THAT(gguf->tensors[0].shape, ElementsAre(2, 3));
    EXPECT_EQ(gguf->tensors[0].bytes[23], 'x');
    EXPECT_EQ(gguf->tensors[1].dtype, DType::kQ8_0);
    EXPECT_EQ(gguf->tensors[1].bytes.size(), 34u);
    EXPECT_EQ(gguf->tensors[1].bytes[33], 'y');
  }
}

TEST(GgufContainer, HonoursTheAlignmentKey) {
  for (const uint64_t alignment : {8, 64, 4096}) {
    GgufWriter writer = SmallFile();
    writer.set_alignment(alignment);
    const TestBytes bytes(writer.Finish());
    const auto gguf = ParseGgufContainer(bytes.span());
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    for (const TensorView& tensor : gguf->tensors) {
      EXPECT_EQ((tensor.bytes.data() - bytes.span().data()) % alignment, 0u);
    }
    EXPECT_EQ(gguf->tensors[0].bytes[0], 'x');
    EXPECT_EQ(gguf->tensors[1].bytes[0], 'y');
  }
}

TEST(GgufContainer, ReadsAFileWithoutTensors) {
  GgufWriter writer;
  writer.AddText("key", "value");
  const TestBytes bytes(writer.Finish());
  const auto gguf = ParseGgufContainer(bytes.span());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_TRUE(gguf->tensors.empty());
}

TEST(GgufContainer, RefusesOtherMagicVersionsAndByteOrder) {
  ExpectInvalid("", "truncated");
  ExpectInvalid("GGML\x03\0\0\0", "not a GGUF file");
  for (const uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    GgufWriter writer = SmallFile();
    writer.set_version(version);
    ExpectError(writer.Finish(), absl::StatusCode::kUnimplemented,
                version == 0 || version > 4 ? "big-endian" : "GGUF version");
  }
}

// reliability.md, case 49, its parts in order.

TEST(GgufContainerHostile, TensorOrKeyCountNear2To63) {
  for (const uint64_t count :
       {kHuge, kHuge - 1, std::numeric_limits<uint64_t>::max(),
        uint64_t{1} << 32, uint64_t{65537}}) {
    GgufWriter tensors = SmallFile();
    tensors.set_num_tensors(count);
    ExpectInvalid(tensors.Finish(), std::to_string(count) + " tensors");
    GgufWriter keys = SmallFile();
    keys.set_num_keys(count);
    ExpectInvalid(keys.Finish(), std::to_string(count) + " keys");
  }
}

TEST(GgufContainerHostile, CountsThatTheFileHasNoRoomFor) {
  GgufWriter writer = SmallFile();
  writer.set_num_keys(60000);  // below the limit, but beyond the bytes
  ExpectInvalid(writer.Finish(), "room for");
  writer = SmallFile();
  writer.set_num_tensors(60000);
  ExpectInvalid(writer.Finish(), "room for");
}

// A length that wraps when the cursor is added to it.
TEST(GgufContainerHostile, StringLengthOverflow) {
  for (const uint64_t length :
       {std::numeric_limits<uint64_t>::max(), kHuge, uint64_t{1} << 40,
        std::numeric_limits<uint64_t>::max() - 64}) {
    GgufWriter value;
    value.AddRaw("key", kText, RawBytes(length) + "text");
    ExpectInvalid(value.Finish(), "bytes of key \"key\"");
  }
}

TEST(GgufContainerHostile, KeyAndTensorNameLengthOverflow) {
  for (const uint64_t length : {std::numeric_limits<uint64_t>::max(), kHuge}) {
    const std::string header =
        "GGUF" + RawBytes<uint32_t>(3) + RawBytes<uint64_t>(0);
    ExpectInvalid(header + RawBytes<uint64_t>(1) + RawBytes(length) +
                      std::string(64, 'k'),
                  "the name of key 0");
    const std::string one_tensor = "GGUF" + RawBytes<uint32_t>(3) +
                                   RawBytes<uint64_t>(1) +
                                   RawBytes<uint64_t>(0);
    ExpectInvalid(one_tensor + RawBytes(length) + std::string(64, 't'),
                  "the name of tensor 0");
  }
}

TEST(GgufContainerHostile, EmptyAndOverlongNames) {
  GgufWriter writer;
  writer.AddUint32("", 1);
  writer.AddUint32("padding for the header's count check", 1);
  ExpectInvalid(writer.Finish(), "has 0 bytes");
  writer = GgufWriter();
  writer.AddUint32(std::string(65536, 'k'), 1);
  ExpectInvalid(writer.Finish(), "has 65536 bytes");
}

TEST(GgufContainerHostile, TensorOffsetWraps) {
  for (const uint64_t offset : {std::numeric_limits<uint64_t>::max() - 31,
                                kHuge, uint64_t{1} << 40, uint64_t{96}}) {
    GgufWriter writer = SmallFile();
    writer.FindTensor("second")->offset = offset;
    ExpectInvalid(writer.Finish(), "second");
    ExpectInvalid(writer.Finish(), "reach beyond the file");
  }
}

TEST(GgufContainerHostile, MisalignedTensor) {
  GgufWriter writer = SmallFile();
  writer.FindTensor("second")->offset = 33;
  ExpectInvalid(writer.Finish(), "offset 33 is not a multiple of");
}

TEST(GgufContainerHostile, ShapeProductOverflows) {
  const uint64_t half = uint64_t{1} << 32;
  for (const std::vector<uint64_t>& dimensions :
       {std::vector<uint64_t>{half, half},
        {kHuge - 1},
        {half, half, half},
        {half, half >> 2, 2, 1}}) {
    GgufWriter writer = SmallFile();
    writer.FindTensor("first")->dimensions = dimensions;
    ExpectInvalid(writer.Finish(), "tensor \"first\"");
  }
  GgufWriter writer = SmallFile();
  writer.FindTensor("first")->dimensions = {half, half};
  ExpectInvalid(writer.Finish(), "exceed 2^63");
}

TEST(GgufContainerHostile, ZeroAndNegativeDimensions) {
  for (const uint64_t dimension :
       {uint64_t{0}, kHuge, std::numeric_limits<uint64_t>::max()}) {
    GgufWriter writer = SmallFile();
    writer.FindTensor("first")->dimensions = {3, dimension};
    ExpectInvalid(writer.Finish(),
                  "dimension 1 is " + std::to_string(dimension));
  }
}

TEST(GgufContainerHostile, NumberOfDimensions) {
  for (const size_t count : {0, 5, 200}) {
    GgufWriter writer = SmallFile();
    writer.FindTensor("first")->dimensions.assign(count, 1);
    ExpectInvalid(writer.Finish(),
                  "has " + std::to_string(count) + " dimensions");
  }
}

TEST(GgufContainerHostile, ArrayCountOverflows) {
  const uint64_t max = std::numeric_limits<uint64_t>::max();
  for (const uint64_t count : {max, kHuge, max / 8 + 2, uint64_t{1} << 61}) {
    for (const GgufType type :
         {GgufType::kUint8, GgufType::kFloat64, GgufType::kString}) {
      GgufWriter writer;
      writer.AddRaw("list", kArray,
                    RawBytes(static_cast<uint32_t>(type)) + RawBytes(count) +
                        std::string(64, '\0'));
      ExpectInvalid(writer.Finish(), "array of " + std::to_string(count));
    }
  }
}

TEST(GgufContainerHostile, StringInsideAnArrayOverflows) {
  GgufWriter writer;
  writer.AddRaw("list", kArray,
                RawBytes(kText) + RawBytes<uint64_t>(2) + RawText("fine") +
                    RawBytes(std::numeric_limits<uint64_t>::max()) + "x");
  ExpectInvalid(writer.Finish(), "string 1 of 2");
}

TEST(GgufContainerHostile, NestedArrays) {
  GgufWriter writer;
  writer.AddRaw("list", kArray,
                RawBytes(kArray) + RawBytes<uint64_t>(1) + RawBytes(kText) +
                    RawBytes<uint64_t>(0));
  ExpectInvalid(writer.Finish(), "an array in an array");
}

TEST(GgufContainerHostile, UnknownValueTypes) {
  for (const uint32_t type : {13u, 255u, 0xffffffffu}) {
    GgufWriter writer;
    writer.AddRaw("key", type, std::string(16, '\0'));
    ExpectInvalid(writer.Finish(), "type " + std::to_string(type));
    writer = GgufWriter();
    writer.AddRaw("key", kArray,
                  RawBytes(type) + RawBytes<uint64_t>(1) + std::string(8, 'x'));
    ExpectInvalid(writer.Finish(), "elements of type " + std::to_string(type));
  }
}

TEST(GgufContainerHostile, BoolThatIsNeitherZeroNorOne) {
  GgufWriter writer;
  writer.AddRaw("flag", static_cast<uint32_t>(GgufType::kBool), "\x02");
  ExpectInvalid(writer.Finish(), "a bool of value 2");
}

TEST(GgufContainerHostile, ZeroOrNonPowerOfTwoAlignment) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 1u << 21, 1u << 31}) {
    GgufWriter writer = SmallFile();
    writer.AddUint32("general.alignment", alignment);
    ExpectInvalid(writer.Finish(),
                  std::to_string(alignment) + "; want a power of two");
  }
  GgufWriter writer = SmallFile();
  writer.AddText("general.alignment", "32");
  ExpectInvalid(writer.Finish(), "has type string, want uint32");
}

TEST(GgufContainerHostile, DuplicateKeys) {
  GgufWriter writer = SmallFile();
  writer.AddUint32("count", 7);
  ExpectInvalid(writer.Finish(), "\"count\" occurs twice");
}

TEST(GgufContainerHostile, DuplicateTensors) {
  GgufWriter writer = SmallFile();
  writer.AddTensor("first", {2, 3}, DType::kF32, std::string(24, 'x'));
  ExpectInvalid(writer.Finish(), "tensor \"first\" occurs twice");
}

TEST(GgufContainerHostile, TensorsThatShareBytes) {
  GgufWriter writer = SmallFile();
  writer.AddTensor("third", {32}, DType::kQ8_0, std::string(34, 'z'));
  writer.FindTensor("third")->offset = 32;
  ExpectInvalid(writer.Finish(), "\"second\" and \"third\" share bytes");
}

TEST(GgufContainerHostile, UnknownQuantizationIsNamed) {
  for (const auto& [type, name] : {std::pair<uint32_t, std::string>{10, "Q2_K"},
                                   {23, "IQ4_XS"},
                                   {39, "MXFP4"},
                                   {4, "Q4_2"},
                                   {28, "F64"},
                                   {40, "unknown"},
                                   {0xffffffff, "unknown"}}) {
    GgufWriter writer = SmallFile();
    writer.FindTensor("first")->type = type;
    ExpectError(writer.Finish(), absl::StatusCode::kUnimplemented,
                "tensor \"first\": quantization " + name + " (GGML type " +
                    std::to_string(type) + ")");
  }
}

TEST(GgufContainerHostile, RowIsNoWholeNumberOfBlocks) {
  GgufWriter writer = SmallFile();
  writer.FindTensor("second")->dimensions = {31};
  ExpectInvalid(writer.Finish(), "rows of 31 elements");
}

TEST(GgufContainerHostile, TruncationAtEveryByteIsAnError) {
  const std::string whole = SmallFile().Finish();
  // The padding behind the last tensor is not missed.
  const size_t needed = whole.size() - (64 - 34);
  for (size_t size = 0; size < needed; ++size) {
    const TestBytes bytes(whole.substr(0, size));
    const auto result = ParseGgufContainer(bytes.span());
    ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument)
        << size;
  }
  const TestBytes bytes(whole.substr(0, needed));
  EXPECT_TRUE(ParseGgufContainer(bytes.span()).ok());
}

TEST(GgufContainerHostile, MessagesQuoteAndCutHostileNames) {
  GgufWriter writer = SmallFile();
  const std::string name = "\x1b[2J\n" + std::string(3000, 'n');
  writer.FindTensor("first")->name = name;
  writer.FindTensor(name)->dimensions = {0};
  const TestBytes bytes(writer.Finish());
  const std::string message(
      ParseGgufContainer(bytes.span()).status().message());
  EXPECT_THAT(message, HasSubstr("\\x1b[2J\\n"));
  EXPECT_LT(message.size(), 300u);
}

}  // namespace
}  // namespace headwise
