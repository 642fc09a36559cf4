#include "server/calibration/key_value_prompt.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/calibration/byte_tokenizer.h"

namespace headwise {
namespace {

class KeyValuePromptTest : public testing::Test {
 protected:
  Haystack Drawn() const { return *Haystack::Create(tokenizer_, ""); }
  NeedlePrompt Make(int64_t length, double depth, uint64_t stream = 0) const {
    Draws draws(1, stream);
    return MakeKeyValuePrompt(Drawn(), length, depth, draws);
  }
  std::string Text(const std::vector<int32_t>& tokens) const {
    return tokenizer_.Decode(tokens, /*skip_special=*/true);
  }
  // The object that the prompt begins with, as its entries stand there.
  static nlohmann::ordered_json ObjectOf(const std::string& text) {
    return nlohmann::ordered_json::parse(
        text.substr(0, text.find("}\n\n") + 1));
  }

  ByteTokenizer tokenizer_;
};

TEST_F(KeyValuePromptTest, TheValueOfTheKeyIsTheAnswerTokenByToken) {
  for (const double depth : {0.0, 0.3, 1.0}) {
    SCOPED_TRACE(depth);
    const NeedlePrompt prompt = Make(4000, depth);
    const nlohmann::ordered_json object = ObjectOf(Text(prompt.prefix));
    const std::string question = Text(prompt.question);
    ASSERT_EQ(question.substr(0, 5), "Key: ");
    const std::string key = question.substr(5, 32);
    EXPECT_EQ(object.at(key), Text(prompt.answer));
    EXPECT_EQ(question, "Key: " + key + "\nValue:");
    ASSERT_EQ(prompt.needle.size(), prompt.answer.size());
    for (size_t i = 0; i < prompt.needle.size(); ++i) {
      EXPECT_EQ(prompt.prefix[static_cast<size_t>(prompt.needle[i])],
                prompt.answer[i]);
    }
    const auto place = std::distance(object.begin(), object.find(key));
    EXPECT_EQ(place,
              std::lround(depth * (static_cast<double>(object.size()) - 1)));
  }
}

TEST_F(KeyValuePromptTest, ThreeOtherPairsAreShownAsExamples) {
  for (uint64_t stream = 0; stream < 20; ++stream) {
    SCOPED_TRACE(stream);
    const NeedlePrompt prompt = Make(2000, 0.5, stream);
    const std::string text = Text(prompt.prefix);
    const nlohmann::ordered_json object = ObjectOf(text);
    std::set<std::string> keys = {Text(prompt.question).substr(5, 32)};
    size_t at = text.find("}\n\n") + 3;
    for (int64_t i = 0; i < kKeyValueExamples; ++i) {
      const std::string key = text.substr(at + 5, 32);
      EXPECT_TRUE(keys.insert(key).second) << key;
      const std::string example =
          "Key: " + key + "\nValue:" + object.at(key).get<std::string>() +
          "\n\n";
      EXPECT_EQ(text.substr(at, example.size()), example);
      at += example.size();
    }
    EXPECT_EQ(at, text.size());
  }
}

TEST_F(KeyValuePromptTest, HasTheWantedLengthWithinAPair) {
  for (const int64_t length : {1500, 2500, 6000}) {
    for (uint64_t stream = 0; stream < 10; ++stream) {
      const NeedlePrompt prompt = Make(length, 0.5, stream);
      EXPECT_LE(prompt.num_tokens(), length);
      EXPECT_GT(prompt.num_tokens(), length - 250);
      EXPECT_TRUE(CheckRoom(prompt, length).ok());
    }
  }
}

TEST_F(KeyValuePromptTest, TooShortALengthHasFourPairsAllTheSame) {
  const NeedlePrompt prompt = Make(300, 0.5);
  EXPECT_EQ(ObjectOf(Text(prompt.prefix)).size(), 4u);
  EXPECT_FALSE(CheckRoom(prompt, 300).ok());
}

TEST_F(KeyValuePromptTest, TheSameDrawsGiveTheSamePrompt) {
  EXPECT_EQ(Make(2000, 0.5, 3).prefix, Make(2000, 0.5, 3).prefix);
  EXPECT_NE(Make(2000, 0.5, 3).prefix, Make(2000, 0.5, 4).prefix);
}

TEST_F(KeyValuePromptTest, LongSentencesOfATextAreValuesToo) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += std::string(399, 'a' + i % 26) + ".\n";
  const Haystack haystack = *Haystack::Create(tokenizer_, text);
  Draws draws(0, 0);
  const NeedlePrompt prompt = MakeKeyValuePrompt(haystack, 300, 0.5, draws);
  EXPECT_EQ(prompt.answer.size(), 401u);  // the space before it, too
}

}  // namespace
}  // namespace headwise
