#include "model/files/hf_tokenizer.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_tokenizer.h"
#include "model/files/test_model_writer.h"

namespace headwise {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kMark[] = "\xe2\x96\x81";  // U+2581

TinyModelOptions SentencePiece() {
  TinyModelOptions options;
  options.tokenizer = TokenizerKind::kSentencePiece;
  options.vocab_size = 400;
  return options;
}

struct Input {
  explicit Input(const TinyModelOptions& options = {})
      : tokenizer(Json::parse(WriteTinySafetensors(options).tokenizer_json)),
        config(
            Json::parse(WriteTinySafetensors(options).tokenizer_config_json)),
        vocab_size(options.vocab_size) {}
  absl::StatusOr<TokenizerData> Read() const {
    HfTokenizerInput input;
    input.tokenizer = &tokenizer;
    input.config = &config;
    input.vocab_size = vocab_size;
    return ReadHfTokenizer(input);
  }
  Json tokenizer;
  Json config;
  int64_t vocab_size;
};

void ExpectError(const Input& input, absl::StatusCode code,
                 const std::string& words) {
  const auto result = input.Read();
  ASSERT_FALSE(result.ok()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
}
void ExpectInvalid(const Input& input, const std::string& words) {
  ExpectError(input, absl::StatusCode::kInvalidArgument, words);
}
void ExpectUnimplemented(const Input& input, const std::string& words) {
  ExpectError(input, absl::StatusCode::kUnimplemented, words);
}

PreTokenizer PreTokenizerOf(const Json& pre_tokenizer) {
  Input input;
  input.tokenizer["pre_tokenizer"] = pre_tokenizer;
  const auto data = input.Read();
  EXPECT_TRUE(data.ok()) << data.status();
  return data.ok() ? data->pre_tokenizer : PreTokenizer::kGpt2;
}

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}
Json Split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}
Json Sequence(const Json& first, const Json& second) {
  return {{"type", "Sequence"},
          {"pretokenizers", Json::array({first, second})}};
}

// As the published tokenizer.json of Meta-Llama-3-8B has it.
constexpr char kLlama3Words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

TEST(HfTokenizer, TellsPreTokenizersApart) {
  EXPECT_EQ(PreTokenizerOf(ByteLevel(true)), PreTokenizer::kGpt2);
  EXPECT_EQ(
      PreTokenizerOf(Sequence({{"type", "Digits"}, {"individual_digits", true}},
                              ByteLevel(true))),
      PreTokenizer::kSmollm);
  EXPECT_EQ(PreTokenizerOf(Sequence(Split(kLlama3Words), ByteLevel(false))),
            PreTokenizer::kLlamaBpe);
}

TEST(HfTokenizer, NamesOtherPreTokenizers) {
  const auto refused = [](const Json& pre_tokenizer, const std::string& words) {
    Input input;
    input.tokenizer["pre_tokenizer"] = pre_tokenizer;
    ExpectUnimplemented(input, words);
  };
  refused({{"type", "Whitespace"}}, "steps \"Whitespace\"");
  refused(nullptr, "pre_tokenizer");
  refused(ByteLevel(false), "steps \"ByteLevel\"");
  refused({{"type", "ByteLevel"}}, "steps \"ByteLevel\"");  // prefix space
  refused(Sequence({{"type", "Digits"}, {"individual_digits", false}},
                   ByteLevel(true)),
          "\"Digits\" + \"ByteLevel\"");
  refused(Sequence(Split("\\w+"), ByteLevel(false)),
          "regular expression \"\\\\w+\"");
  refused(Sequence(Split(kLlama3Words), ByteLevel(true)), "\"Split\"");
  Json inverted = Split(kLlama3Words);
  inverted["invert"] = true;
  refused(Sequence(inverted, ByteLevel(false)), "not Isolated");
  refused({{"type", "Sequence"}}, "no list");
  refused(3, "no object");
}

TEST(HfTokenizer, ReadsMergesInBothForms) {
  Input text;
  Input pairs;
  for (Json& merge : pairs.tokenizer["model"]["merges"]) {
    const std::string both = merge.get<std::string>();
    const size_t space = both.find(' ');
    merge = Json::array({both.substr(0, space), both.substr(space + 1)});
  }
  const auto from_text = text.Read();
  const auto from_pairs = pairs.Read();
  ASSERT_TRUE(from_text.ok()) << from_text.status();
  ASSERT_TRUE(from_pairs.ok()) << from_pairs.status();
  EXPECT_EQ(from_text->merges, from_pairs->merges);
  EXPECT_EQ(from_text->merges.size(), 61u);  // 320 - 256 - 3
}

TEST(HfTokenizer, AddedTokensAreControlOrUserDefined) {
  Input input;
  input.vocab_size = 323;
  input.tokenizer["added_tokens"].push_back(
      {{"id", 321}, {"content", "<tool>"}, {"special", false}});
  const auto data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->types[0], TokenType::kControl);
  EXPECT_EQ(data->types[3], TokenType::kNormal);
  EXPECT_EQ(data->types[320], TokenType::kUnused);
  EXPECT_EQ(data->tokens[320], "[PAD320]");
  EXPECT_EQ(data->types[321], TokenType::kUserDefined);
  EXPECT_EQ(data->tokens[321], "<tool>");
}

TEST(HfTokenizer, NamesFlagsOfAddedTokensThatWeLack) {
  for (const std::string flag : {"single_word", "lstrip", "rstrip"}) {
    Input input;
    input.tokenizer["added_tokens"][1][flag] = true;
    ExpectUnimplemented(input, "added token \"<|im_start|>\" has " + flag);
    input.tokenizer["added_tokens"][1][flag] = 1;
    ExpectInvalid(input, "is of type number");
  }
}

// The file says it, not the rule for words: tokenizers' default is false.
TEST(HfTokenizer, IgnoreMergesIsRead) {
  for (const Json& words : {Json(kLlama3Words), Json(nullptr)}) {
    Input input;
    if (words.is_string()) {
      input.tokenizer["pre_tokenizer"] =
          Sequence(Split(words), ByteLevel(false));
    }
    EXPECT_FALSE(input.Read()->whole_words_first);
    input.tokenizer["model"]["ignore_merges"] = true;
    EXPECT_TRUE(input.Read()->whole_words_first);
    input.tokenizer["model"]["ignore_merges"] = false;
    EXPECT_FALSE(input.Read()->whole_words_first);
    input.tokenizer["model"]["ignore_merges"] = "no";
    ExpectInvalid(input, "\"ignore_merges\" is of type string");
  }
  Input input(SentencePiece());
  input.tokenizer["model"]["ignore_merges"] = true;
  ExpectUnimplemented(input, "model.ignore_merges with byte fallback");
}

TEST(HfTokenizer, APrefixTokenOfThePostProcessorIsBos) {
  Input input;
  const Json text = {{"Sequence", {{"id", "A"}}}};
  const Json im_start = {{"SpecialToken", {{"id", "<|im_start|>"}}}};
  const auto processor = [](const Json& single) {
    return Json{
        {"type", "Sequence"},
        {"processors",
         Json::array({{{"type", "ByteLevel"}},
                      {{"type", "TemplateProcessing"}, {"single", single}}})}};
  };
  input.tokenizer["post_processor"] = processor(Json::array({im_start, text}));
  auto data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(data->add_bos);
  EXPECT_EQ(data->bos_id, 1);
  input.tokenizer["post_processor"] = processor(Json::array({text}));
  data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_FALSE(data->add_bos);
  input.tokenizer["post_processor"] = processor(Json::array({text, im_start}));
  ExpectUnimplemented(input, "a token after the text");
  input.tokenizer["post_processor"] = {{"type", "BertProcessing"}};
  ExpectUnimplemented(input, "\"BertProcessing\"");
}

TEST(HfTokenizer, ConfigSaysAddBosWhereThereIsNoPostProcessor) {
  Input input;
  input.config["add_bos_token"] = true;
  const auto data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(data->add_bos);
}

TEST(HfTokenizer, NamesOtherModels) {
  for (const char* type : {"Unigram", "WordPiece"}) {
    Input input;
    input.tokenizer["model"]["type"] = type;
    ExpectUnimplemented(input, std::string("model.type \"") + type);
  }
  Input input;
  input.tokenizer["model"]["end_of_word_suffix"] = "</w>";
  ExpectUnimplemented(input, "model.end_of_word_suffix is set");
  input = Input();
  input.tokenizer["normalizer"] = {{"type", "Lowercase"}};
  ExpectUnimplemented(input, "normalizer: steps \"Lowercase\"");
}

TEST(HfTokenizerHostile, VocabulariesThatContradictThemselves) {
  Input input;
  input.tokenizer.erase("model");
  ExpectInvalid(input, "model is missing");
  input = Input();
  input.tokenizer["model"]["vocab"] = Json::array();
  ExpectInvalid(input, "model.vocab");
  for (const Json& id : {Json(320), Json(-1), Json(1.5), Json("1"),
                         Json(uint64_t{1} << 63), Json(nullptr)}) {
    input = Input();
    input.tokenizer["model"]["vocab"]["new"] = id;
    ExpectInvalid(input, "token \"new\" has id");
  }
  input = Input();
  input.tokenizer["model"]["vocab"]["new"] = 5;
  ExpectInvalid(input, "id 5 belongs to tokens");
  input = Input();
  input.tokenizer["added_tokens"][0]["id"] = 1;
  ExpectInvalid(input, "has ids 0 and 1");
  input = Input();
  input.tokenizer["added_tokens"][0].erase("content");
  ExpectInvalid(input, "no content or no id");
  input = Input();
  input.tokenizer["added_tokens"] = Json::array({1});
  ExpectInvalid(input, "an added token is no object");
}

TEST(HfTokenizerHostile, TokensThatAreTooLong) {
  Input input;
  input.tokenizer["model"]["vocab"][std::string(4097, 'x')] = 319;
  ExpectInvalid(input, "token 319 has 4097 bytes; the limit is 4096");
  input = Input();
  input.tokenizer["added_tokens"][0]["content"] = std::string(100'000, 'x');
  ExpectInvalid(input, "token 0 has 100000 bytes; the limit is 4096");
}

TEST(HfTokenizerHostile, MergesThatAreNone) {
  const auto refused = [](const Json& merge, const std::string& words) {
    Input input;
    input.tokenizer["model"]["merges"].push_back(merge);
    ExpectInvalid(input, words);
  };
  refused("ab", "has not one space");
  refused("a b c", "has not one space");
  refused(Json::array({"a"}), "neither");
  refused(Json::array({"a", 1}), "neither");
  refused(1, "neither");
  refused("a zzz", "\"zzz\" is not in the vocabulary");
  refused("Z Z", "\"ZZ\" is not in the vocabulary");
  Input input;
  input.tokenizer["model"].erase("merges");
  ExpectInvalid(input, "model.merges");
}

TEST(HfTokenizerHostile, SpecialTokensOutsideTheVocabulary) {
  Input input;
  input.config["bos_token"] = "<none>";
  ExpectInvalid(input, "bos_token \"<none>\" is not in the vocabulary");
  input.config["bos_token"] = {{"content", 3}};
  ExpectInvalid(input, "\"content\" is of type number");
}

TEST(HfSentencePiece, MergesBecomeTheScoresThatMadeThem) {
  const TinyModelOptions options = SentencePiece();
  const Input input(options);
  const auto data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  const TinyVocabulary expected = MakeTinyVocabulary(options);
  EXPECT_EQ(data->kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(data->space_prefix, SpacePrefix::kEverySection);
  EXPECT_TRUE(data->add_bos);
  EXPECT_EQ(data->bos_id, 1);
  EXPECT_TRUE(data->merges.empty());
  EXPECT_EQ(data->types, expected.types);
  ASSERT_EQ(data->scores.size(), expected.scores.size());
  // Same order of all pieces that merging can give, whatever the values.
  const size_t first_piece = 5 + 256 + 27;
  for (size_t id = first_piece + 1; id < 400; ++id) {
    EXPECT_LT(data->scores[id], data->scores[id - 1]) << id;
  }
  EXPECT_EQ(data->scores[first_piece], 0.0f);
  EXPECT_LT(data->scores[first_piece - 1], data->scores[399]);  // "z"
}

TEST(HfSentencePiece, RefusesMergesThatScoresCannotGive) {
  Input input(SentencePiece());
  Json& merges = input.tokenizer["model"]["merges"];
  const Json first = merges[0];
  merges.push_back(first);
  ExpectUnimplemented(input, "has merges of different rank");
  merges.erase(merges.size() - 1);
  merges.insert(merges.begin(), first);
  ExpectUnimplemented(input, "has a merge twice");
  merges.erase(0);
  merges.erase(1);  // a split that SentencePiece would join is left out
  ExpectUnimplemented(input, "piece \"he\" has 0 merges, 1 splits");
}

TEST(HfSentencePiece, RestoresTheMergesOfTheFirstPiece) {
  Input input(SentencePiece());
  input.tokenizer["model"]["merges"].erase(0);
  const auto data = input.Read();
  ASSERT_TRUE(data.ok()) << data.status();
  const size_t first_piece = 5 + 256 + 27;
  EXPECT_EQ(data->tokens[first_piece], std::string(kMark) + "t");
  EXPECT_EQ(data->scores[first_piece], 1.0f);
  EXPECT_EQ(data->scores[first_piece + 1], 0.0f);
}

TEST(HfSentencePiece, ReadsMetaspaceAndNamesOtherRules) {
  Input input(SentencePiece());
  input.tokenizer.erase("normalizer");
  const auto metaspace = [&](const char* scheme) {
    return Json{{"type", "Metaspace"},
                {"replacement", kMark},
                {"prepend_scheme", scheme},
                {"split", false}};
  };
  const std::pair<const char*, SpacePrefix> schemes[] = {
      {"always", SpacePrefix::kEverySectionWithoutOne},
      {"first", SpacePrefix::kFirstWithoutOne},
      {"never", SpacePrefix::kNone}};
  for (const auto& [scheme, prefix] : schemes) {
    input.tokenizer["pre_tokenizer"] = metaspace(scheme);
    const auto data = input.Read();
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->space_prefix, prefix) << scheme;
  }
  input.tokenizer["pre_tokenizer"] = metaspace("last");
  ExpectUnimplemented(input, "Metaspace with prepend_scheme \"last\"");
  input.tokenizer["pre_tokenizer"] = metaspace("never");
  input.tokenizer["pre_tokenizer"]["split"] = true;
  ExpectUnimplemented(input, "\"Metaspace\"");
  input.tokenizer.erase("pre_tokenizer");
  input.tokenizer["normalizer"] = {{"type", "NFKC"}};
  ExpectUnimplemented(input, "with byte fallback: steps \"NFKC\"");
}

}  // namespace
}  // namespace headwise
