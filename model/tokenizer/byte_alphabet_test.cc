#include "model/tokenizer/byte_alphabet.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(ByteAlphabetTest, EveryByteComesBackAndNoTwoShareACharacter) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const absl::string_view letter = ByteToAlphabet(static_cast<uint8_t>(byte));
    EXPECT_EQ(AlphabetToBytes(letter), std::string(1, static_cast<char>(byte)));
    characters.emplace(letter);
  }
  EXPECT_EQ(characters.size(), 256u);
}

// As GPT-2's encoder.py, bytes_to_unicode, gives them.
TEST(ByteAlphabetTest, HasTheKnownCharacters) {
  EXPECT_EQ(ByteToAlphabet(0x00), "Ā");
  EXPECT_EQ(ByteToAlphabet('\n'), "Ċ");
  EXPECT_EQ(ByteToAlphabet(' '), "Ġ");
  EXPECT_EQ(ByteToAlphabet('!'), "!");
  EXPECT_EQ(ByteToAlphabet('~'), "~");
  EXPECT_EQ(ByteToAlphabet(0x7F), "ġ");
  EXPECT_EQ(ByteToAlphabet(0xA1), "¡");
  EXPECT_EQ(ByteToAlphabet(0xAD), "Ń");
  EXPECT_EQ(ByteToAlphabet(0xFF), "ÿ");
}

TEST(ByteAlphabetTest, KeepsWhatIsOutsideTheAlphabet) {
  EXPECT_EQ(AlphabetToBytes("Ġ日\xFFx"), " 日\xFFx");
  EXPECT_EQ(AlphabetToBytes(" "), " ");  // U+0020 is not in it either
  EXPECT_EQ(AlphabetToBytes(""), "");
}

}  // namespace
}  // namespace headwise
