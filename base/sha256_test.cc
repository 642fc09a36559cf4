#include "base/sha256.h"

#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// FIPS 180-2, appendix B, and the empty text.
TEST(Sha256Test, EqualsTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex(Sha256Of({})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex(Sha256Of(BytesOf("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(Sha256Of(BytesOf(
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

// A million times "a", in pieces that meet no block's end.
TEST(Sha256Test, PiecesGiveTheDigestOfTheWhole) {
  Sha256 hash;
  const std::string piece(1000, 'a');
  hash.Update({});
  for (int i = 0; i < 1000; ++i) hash.Update(BytesOf(piece));
  EXPECT_EQ(Sha256Hex(hash.Finish()),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace headwise
