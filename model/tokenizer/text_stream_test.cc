#include "model/tokenizer/text_stream.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

using testing::ElementsAre;

TextStream CreateOrDie(std::vector<std::string> stop_strings) {
  auto stream = TextStream::Create(std::move(stop_strings));
  EXPECT_TRUE(stream.ok()) << stream.status();
  return *std::move(stream);
}

struct Outcome {
  std::vector<std::string> pieces;  // of each Append, then of Finish
  int64_t stop_index = -1;

  std::string Text() const {
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    return text;
  }
};

Outcome Stream(const std::vector<std::string>& stop_strings,
               const std::vector<std::string>& tokens) {
  TextStream stream = CreateOrDie(stop_strings);
  Outcome outcome;
  for (const auto& token : tokens) {
    outcome.pieces.push_back(stream.Append(token));
  }
  outcome.pieces.push_back(stream.Finish());
  outcome.stop_index = stream.stop_index();
  return outcome;
}

// Bit i of `cuts` set: a token ends behind byte i.
std::vector<std::string> CutAt(const std::string& bytes, uint32_t cuts) {
  std::vector<std::string> tokens(1);
  for (size_t i = 0; i < bytes.size(); ++i) {
    tokens.back().push_back(bytes[i]);
    if ((cuts >> i) & 1) tokens.emplace_back();
  }
  return tokens;
}

bool IsWholeUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    if (next.state != Utf8State::kValid) return false;
    text.remove_prefix(next.size);
  }
  return true;
}

// Every way to cut `bytes` into tokens gives the same text and the same stop.
void ExpectForEveryCut(const std::vector<std::string>& stop_strings,
                       const std::string& bytes, const std::string& text,
                       int64_t stop_index) {
  ASSERT_LE(bytes.size(), 12u);
  for (uint32_t cuts = 0; cuts < (1u << bytes.size()); ++cuts) {
    SCOPED_TRACE(testing::Message() << "\"" << bytes << "\" cut at " << cuts);
    const Outcome outcome = Stream(stop_strings, CutAt(bytes, cuts));
    EXPECT_EQ(outcome.Text(), text);
    EXPECT_EQ(outcome.stop_index, stop_index);
    for (const std::string& piece : outcome.pieces) {
      EXPECT_TRUE(IsWholeUtf8(piece)) << piece;
    }
  }
}

TEST(TextStreamTest, GivesWholeCharactersHoweverTheyAreCut) {
  ExpectForEveryCut({}, "aé€\U0001F642z", "aé€\U0001F642z", -1);
  ExpectForEveryCut({}, "한국어", "한국어", -1);
  ExpectForEveryCut({}, "", "", -1);
}

TEST(TextStreamTest, BadBytesBecomeOneReplacementPerSubpart) {
  ExpectForEveryCut({}, "a\xFFz", "a\uFFFDz", -1);
  ExpectForEveryCut({}, "\xE2\x82z", "\uFFFDz", -1);
  ExpectForEveryCut({}, "\xF0\x9F\x99", "\uFFFD", -1);  // cut off at the end
  ExpectForEveryCut({}, "\xC0\x80", "\uFFFD\uFFFD", -1);
  ExpectForEveryCut({}, "\x80\xE2\x82\xE2\x82\xAC", "\uFFFD\uFFFD€", -1);
}

TEST(TextStreamTest, ACharacterComesAsSoonAsItIsComplete) {
  EXPECT_THAT(Stream({}, {"\xE2", "\x82", "\xAC", "\xE2", "x"}).pieces,
              ElementsAre("", "", "€", "", "\uFFFDx", ""));
}

TEST(TextStreamTest, StopsInsideOneTokenAndAcrossMany) {
  ExpectForEveryCut({"</s>"}, "ab</s>cd", "ab", 0);
  ExpectForEveryCut({"b"}, "abc", "a", 0);
  ExpectForEveryCut({"abc"}, "abc", "", 0);
  ExpectForEveryCut({"\n\n"}, "a\nb\n\nc", "a\nb", 0);
}

TEST(TextStreamTest, OverlappingStops) {
  ExpectForEveryCut({"ab", "abc"}, "xabcd", "x", 0);
  ExpectForEveryCut({"abc", "ab"}, "xabcd", "x", 1);
  ExpectForEveryCut({"b", "abc"}, "xabcd", "xa", 0);  // complete first
  ExpectForEveryCut({"bc", "abc"}, "xabcd", "x", 1);  // the longest
  ExpectForEveryCut({"abcd", "bc"}, "abcabcd", "a", 1);
  ExpectForEveryCut({"abd", "ce"}, "ababceabd", "abab", 1);
}

TEST(TextStreamTest, AStopThatOverlapsItsOwnBeginning) {
  ExpectForEveryCut({"aab"}, "aaaab", "aa", 0);
  ExpectForEveryCut({"ababc"}, "abababcx", "ab", 0);
  ExpectForEveryCut({"aaa"}, "aabaa", "aabaa", -1);
}

TEST(TextStreamTest, StopsOfSeveralBytesPerCharacter) {
  ExpectForEveryCut({"€\U0001F642"}, "é€\U0001F642z", "é", 0);
  ExpectForEveryCut({"\U0001F643"}, "a\U0001F642z", "a\U0001F642z", -1);
  ExpectForEveryCut({"\uFFFD"}, "a\xE2\x82", "a", 0);  // completed by Finish
}

TEST(TextStreamTest, WhatBeganAStopComesWhenItCannotBeOne) {
  EXPECT_THAT(Stream({"abcd"}, {"xa", "b", "c", "e"}).pieces,
              ElementsAre("x", "", "", "abce", ""));
  EXPECT_THAT(Stream({"abcd"}, {"xabc"}).pieces, ElementsAre("x", "abc"));
  // Only as much is held back as may still begin one.
  EXPECT_THAT(Stream({"aab", "bz"}, {"aa", "a", "c"}).pieces,
              ElementsAre("", "a", "aac", ""));
}

TEST(TextStreamTest, NothingFollowsAStop) {
  TextStream stream = CreateOrDie({"x", "END"});
  EXPECT_EQ(stream.Append("one END two"), "one ");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.stop_index(), 1);
  EXPECT_EQ(stream.Append("x"), "");
  EXPECT_EQ(stream.stop_index(), 1);
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStreamTest, NothingFollowsFinish) {
  TextStream stream = CreateOrDie({"END"});
  EXPECT_EQ(stream.Append("aE"), "a");
  EXPECT_EQ(stream.Finish(), "E");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.Append("b"), "");
  EXPECT_FALSE(stream.stopped());
}

// The first complete stop by trying every end and every stop string.
Outcome StopByTrying(const std::vector<std::string>& stops,
                     const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    Outcome outcome;
    size_t longest = 0;
    for (size_t i = 0; i < stops.size(); ++i) {
      const size_t size = stops[i].size();
      if (size > end || size <= longest) continue;
      if (text.compare(end - size, size, stops[i]) != 0) continue;
      longest = size;
      outcome.stop_index = static_cast<int64_t>(i);
    }
    if (longest == 0) continue;
    outcome.pieces = {text.substr(0, end - longest)};
    return outcome;
  }
  return {{text}, -1};
}

TEST(TextStreamTest, RandomStopsAndCutsAgreeWithTryingEach) {
  constexpr unsigned kSeed = 20240611;
  std::mt19937 rng(kSeed);
  const auto random_text = [&rng](unsigned max_size) {
    std::string text(1 + rng() % max_size, 'a');
    for (char& c : text) c = static_cast<char>('a' + rng() % 2);
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(rng() % 4);
    for (std::string& stop : stops) stop = random_text(6);
    const std::string text = random_text(20);
    const Outcome expected = StopByTrying(stops, text);
    const Outcome actual = Stream(stops, CutAt(text, rng()));
    ASSERT_EQ(actual.Text(), expected.Text()) << "seed " << kSeed;
    ASSERT_EQ(actual.stop_index, expected.stop_index) << "seed " << kSeed;
  }
}

TEST(TextStreamTest, TakesSixteenStopsOfTwoHundredFiftySixBytes) {
  std::vector<std::string> stops;
  for (char c = 'a'; c < 'a' + TextStream::kMaxStopStrings; ++c) {
    stops.push_back(std::string(TextStream::kMaxStopStringBytes - 1, 'x') + c);
  }
  const std::string held(TextStream::kMaxStopStringBytes - 1, 'x');
  const Outcome outcome = Stream(stops, {"y" + held, "p"});
  EXPECT_THAT(outcome.pieces, ElementsAre("y", "", ""));
  EXPECT_EQ(outcome.stop_index, 15);
}

TEST(TextStreamTest, RefusesStopsOutsideTheLimits) {
  const auto code = [](std::vector<std::string> stops) {
    return TextStream::Create(std::move(stops)).status().code();
  };
  EXPECT_EQ(code({""}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({std::string(257, 'x')}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({"\xFF"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({"\xE2\x82"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(std::vector<std::string>(17, "x")),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(std::vector<std::string>(16, "x")), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace headwise
