#include "model/tokenizer/word_scanner.h"

#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;

constexpr PreTokenizer kAllRules[] = {
    PreTokenizer::kGpt2, PreTokenizer::kSmollm, PreTokenizer::kLlamaBpe,
    PreTokenizer::kQwen2};

std::vector<std::string> Words(PreTokenizer rule, absl::string_view text) {
  WordScanner scanner(rule, text);
  std::vector<std::string> words;
  absl::string_view word;
  while (scanner.Next(&word)) words.emplace_back(word);
  return words;
}

std::vector<std::string> Matches(const std::regex& regex,
                                 const std::string& text) {
  std::vector<std::string> words;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end;
       ++it) {
    words.push_back(it->str());
  }
  return words;
}

// The rules as the header states them, for ASCII, in ECMAScript's notation.
const std::regex& AsciiRegex(PreTokenizer rule) {
  static const std::regex gpt2(
      "'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\\sA-Za-z0-9]+"
      "|\\s+(?!\\S)|\\s+");
  const std::string llama_head =
      "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
      "|[^\\r\\nA-Za-z0-9]?[A-Za-z]+|";
  const std::string llama_tail =
      "| ?[^\\sA-Za-z0-9]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  static const std::regex llama(llama_head + "[0-9]{1,3}" + llama_tail);
  static const std::regex qwen2(llama_head + "[0-9]" + llama_tail);
  if (rule == PreTokenizer::kLlamaBpe) return llama;
  return rule == PreTokenizer::kQwen2 ? qwen2 : gpt2;
}

std::vector<std::string> ReferenceWords(PreTokenizer rule,
                                        const std::string& text) {
  const std::regex& regex = AsciiRegex(rule);
  if (rule != PreTokenizer::kSmollm) return Matches(regex, text);
  std::vector<std::string> words;
  static const std::regex digit_or_stretch("[0-9]|[^0-9]+");
  for (const std::string& part : Matches(digit_or_stretch, text)) {
    for (std::string& word : Matches(regex, part)) words.push_back(word);
  }
  return words;
}

// Every text of up to five of these characters, against a backtracking regular
// expression. \r is a white space that not all rules treat like a tab.
TEST(WordScannerTest, AgreesWithRegularExpressionOnEveryShortText) {
  constexpr absl::string_view kAlphabet = "asL1 \n\t!'";
  const size_t radix = kAlphabet.size();
  size_t num_texts = radix;
  for (int length = 1; length <= 5; ++length, num_texts *= radix) {
    for (size_t index = 0; index < num_texts; ++index) {
      std::string text;
      for (size_t rest = index, n = 0; static_cast<int>(n) < length;
           ++n, rest /= radix) {
        text.push_back(kAlphabet[rest % radix]);
      }
      for (const PreTokenizer rule : kAllRules) {
        ASSERT_EQ(Words(rule, text), ReferenceWords(rule, text))
            << "rule " << static_cast<int>(rule) << " text \"" << text << '"';
      }
    }
  }
}

TEST(WordScannerTest, KnowsUnicodeClasses) {
  for (const PreTokenizer rule : kAllRules) {
    EXPECT_THAT(Words(rule, "naïve 日本 ǅʰ"),
                ElementsAre("naïve", " 日本", " ǅʰ"));
    // U+3000 and U+00A0 are white space, U+200B is not.
    EXPECT_THAT(Words(rule, "a\u3000\u00A0 b"),
                ElementsAre("a", "\u3000\u00A0", " b"));
    EXPECT_THAT(Words(rule, "—\u200B🙂"), ElementsAre("—\u200B🙂"));
  }
  // Numbers: Nd, Nl, No.
  EXPECT_THAT(Words(PreTokenizer::kGpt2, "٣Ⅷ½"), ElementsAre("٣Ⅷ½"));
  EXPECT_THAT(Words(PreTokenizer::kSmollm, "٣Ⅷ½"), ElementsAre("٣", "Ⅷ", "½"));
  EXPECT_THAT(Words(PreTokenizer::kLlamaBpe, "٣Ⅷ½1"), ElementsAre("٣Ⅷ½", "1"));
}

TEST(WordScannerTest, LongSFoldsToSWhereCaseIsIgnored) {
  EXPECT_THAT(Words(PreTokenizer::kLlamaBpe, "x'\u017Fy"),
              ElementsAre("x", "'\u017F", "y"));
  EXPECT_THAT(Words(PreTokenizer::kGpt2, "x'\u017Fy"),
              ElementsAre("x", "'", "\u017Fy"));
}

TEST(WordScannerTest, BadBytesAreLikeSymbols) {
  for (const PreTokenizer rule : kAllRules) {
    EXPECT_THAT(Words(rule, "a !\xFF\xE2\x82 b"),
                ElementsAre("a", " !\xFF\xE2\x82", " b"));
  }
}

TEST(WordScannerTest, EmptyTextHasNoWord) {
  for (const PreTokenizer rule : kAllRules) {
    EXPECT_THAT(Words(rule, ""), ElementsAre());
  }
}

// Each of these makes some branch of a rule look ahead as far as it can.
TEST(WordScannerTest, ReadsEachCharacterAFewTimesAtMost) {
  for (const std::string unit : {"a",
                                 " ",
                                 "\n",
                                 " \n",
                                 "1",
                                 " 1",
                                 "  1",
                                 "\t1",
                                 "'",
                                 "'s",
                                 " a",
                                 "  a",
                                 "\n a",
                                 "!\n",
                                 "!\na",
                                 " !",
                                 "  !",
                                 "\xFF",
                                 "\xE2\x82",
                                 "\u3000",
                                 "\u3000"
                                 "a",
                                 "'\u017F",
                                 "\r\n\t",
                                 "\t\t1",
                                 "é ",
                                 "1 \n"}) {
    std::string text;
    while (text.size() < 4000) text += unit;
    for (const PreTokenizer rule : kAllRules) {
      WordScanner scanner(rule, text);
      absl::string_view word;
      size_t total = 0;
      while (scanner.Next(&word)) total += word.size();
      EXPECT_EQ(total, text.size());
      EXPECT_LE(scanner.num_reads(), 4 * static_cast<int64_t>(text.size()))
          << "rule " << static_cast<int>(rule) << " unit \"" << unit << '"';
    }
  }
}

}  // namespace
}  // namespace headwise
