#include "client/cli/text_pieces.h"

#include <sstream>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> PiecesOf(const std::string& text, size_t bytes) {
  std::istringstream in(text);
  TextPieces pieces(in, bytes);
  std::vector<std::string> all;
  while (true) {
    const auto piece = pieces.Next();
    EXPECT_TRUE(piece.ok()) << piece.status();
    if (!piece.ok() || !piece->has_value()) break;
    all.push_back(**piece);
  }
  return all;
}

TEST(TextPiecesTest, CutsBeforeALineElseAWordElseACharacter) {
  EXPECT_EQ(CutBeforeTokens("one\ntwo three four", 12), 4u);
  EXPECT_EQ(CutBeforeTokens("one\n two three four", 13), 8u);
  EXPECT_EQ(CutBeforeTokens("one\n\n\ntwo three", 10), 6u);
  EXPECT_EQ(CutBeforeTokens("one  two three", 8), 8u);
  EXPECT_EQ(CutBeforeTokens("one   two", 5), 5u) << "no word begins";
  EXPECT_EQ(CutBeforeTokens("abcdefgh", 4), 4u);
  EXPECT_EQ(CutBeforeTokens("ab\xe2\x82\xac gh", 4), 2u);  // a euro sign
}

TEST(TextPiecesTest, PiecesTogetherAreTheText) {
  const std::string text = "a line\nanother line\n\nand  one more that is long";
  for (size_t bytes = 4; bytes < text.size() + 3; ++bytes) {
    std::string joined;
    for (const std::string& piece : PiecesOf(text, bytes)) {
      EXPECT_LE(piece.size(), bytes + 1) << bytes;
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    EXPECT_EQ(joined, text) << bytes;
  }
  EXPECT_THAT(PiecesOf("", 8), ElementsAre());
  EXPECT_THAT(PiecesOf("x", 8), ElementsAre("x"));
}

TEST(TextPiecesTest, BytesThatAreNoTextAreNamed) {
  std::istringstream in("good line\nb\xff\x64 line of text");
  TextPieces pieces(in, 12);
  EXPECT_EQ(**pieces.Next(), "good line\n");
  EXPECT_EQ(pieces.num_bytes(), 10);
  EXPECT_THAT(std::string(pieces.Next().status().message()),
              HasSubstr("the text from byte 10 on: byte 1 (ff hexadecimal)"));
}

}  // namespace
}  // namespace headwise
