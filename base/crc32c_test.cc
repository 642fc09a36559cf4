#include "base/crc32c.h"

#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

std::vector<uint8_t> Bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

// RFC 3720, appendix B.4, and the check value of the CRC's catalogue.
TEST(Crc32cTest, IsThatOfTheStandard) {
  std::vector<uint8_t> ascending(32);
  std::iota(ascending.begin(), ascending.end(), 0);
  for (auto* const crc : {Crc32c, PlainCrc32c}) {
    EXPECT_EQ(crc({}, 0), 0u);
    EXPECT_EQ(crc(Bytes("123456789"), 0), 0xe3069283u);
    EXPECT_EQ(crc(std::vector<uint8_t>(32, 0x00), 0), 0x8a9136aau);
    EXPECT_EQ(crc(std::vector<uint8_t>(32, 0xff), 0), 0x62a8ab43u);
    EXPECT_EQ(crc(ascending, 0), 0x46dd794eu);
  }
}

TEST(Crc32cTest, InstructionAndTableAgreeForAnyLengthAndCut) {
  std::vector<uint8_t> bytes(100);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = (i * 37 + 11) % 256;
  for (size_t length = 0; length <= bytes.size(); ++length) {
    const auto all = absl::MakeConstSpan(bytes).first(length);
    const uint32_t whole = PlainCrc32c(all);
    EXPECT_EQ(Crc32c(all), whole);
    for (size_t cut = 0; cut <= length; ++cut) {
      ASSERT_EQ(Crc32c(all.subspan(cut), Crc32c(all.first(cut))), whole)
          << length << " cut at " << cut;
    }
  }
}

TEST(Crc32cTest, AnyFlippedBitChangesIt) {
  std::vector<uint8_t> bytes(64, 0x5a);
  const uint32_t crc = Crc32c(bytes);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= 1 << (bit % 8);
    EXPECT_NE(Crc32c(bytes), crc) << bit;
    bytes[bit / 8] ^= 1 << (bit % 8);
  }
}

}  // namespace
}  // namespace headwise
