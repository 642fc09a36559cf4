// Ids made by other tokenizers: tests/golden/README.md.

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

std::string GoldenPath(const std::string& name) {
  return std::string(HEADWISE_SOURCE_DIR) + "/tests/golden/" + name;
}

nlohmann::json ReadGolden(const std::string& name) {
  const std::string path = GoldenPath(name);
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path << " cannot be read";
  return nlohmann::json::parse(file);
}

void ExpectIds(const Tokenizer& tokenizer, const nlohmann::json& cases) {
  ASSERT_FALSE(cases.empty());
  for (const nlohmann::json& entry : cases) {
    const auto text = entry.at("text").get<std::string>();
    const auto ids = entry.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Encode(text, {}), ids) << '"' << text << '"';
  }
}

class SmolLm2GoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* from_environment = std::getenv("HEADWISE_MODEL");
    const std::string path =
        from_environment != nullptr
            ? from_environment
            : std::string(HEADWISE_SOURCE_DIR) +
                  "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    auto model = Model::Open(path);
    ASSERT_TRUE(model.ok())
        << path << ": " << model.status() << " (test.sh installs this model)";
    model_ = *std::move(model);
  }

  std::unique_ptr<Tokenizer> CreateOrDie(const TokenizerData& data) {
    auto tokenizer = Tokenizer::Create(data);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  std::unique_ptr<Model> model_;
};

TEST_F(SmolLm2GoldenTest, EveryTextGivesTheReferenceIds) {
  const auto tokenizer = CreateOrDie(model_->tokenizer_data());
  ExpectIds(*tokenizer, ReadGolden("tokenizer.json"));
}

TEST_F(SmolLm2GoldenTest, DecodeGivesEveryTextBack) {
  const auto tokenizer = CreateOrDie(model_->tokenizer_data());
  for (const nlohmann::json& entry : ReadGolden("tokenizer.json")) {
    const auto ids = entry.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->Decode(ids, /*skip_special=*/false),
              entry.at("text").get<std::string>());
  }
}

// score.json says which ids its losses belong to: the SHA-256 of the JSON text
// "[1, 2, 3]" of the first 1,500.
TEST_F(SmolLm2GoldenTest, ScoredTextGivesTheReferenceIds) {
  const nlohmann::json score = ReadGolden("score.json");
  std::ifstream file(GoldenPath("text.txt"), std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  std::vector<int32_t> ids =
      CreateOrDie(model_->tokenizer_data())->Encode(text, {});
  const auto num_tokens = score.at("tokens").get<size_t>();
  ASSERT_GE(ids.size(), num_tokens);
  ids.resize(num_tokens);
  const std::string list = "[" + absl::StrJoin(ids, ", ") + "]";
  const auto* bytes = reinterpret_cast<const uint8_t*>(list.data());
  EXPECT_EQ(Sha256Hex(Sha256Of(absl::MakeConstSpan(bytes, list.size()))),
            score.at("ids_sha256").get<std::string>());
}

// All four rules on the vocabulary of this model.
TEST_F(SmolLm2GoldenTest, EveryRuleGivesTheReferenceIds) {
  const nlohmann::json golden = ReadGolden("tokenizer_rules.json");
  const std::map<std::string, PreTokenizer> rules = {
      {"gpt2", PreTokenizer::kGpt2},
      {"smollm", PreTokenizer::kSmollm},
      {"llama_bpe", PreTokenizer::kLlamaBpe},
      {"qwen2", PreTokenizer::kQwen2}};
  for (const auto& [name, rule] : rules) {
    SCOPED_TRACE(name);
    TokenizerData data = model_->tokenizer_data();
    data.pre_tokenizer = rule;
    data.normalize_nfc = rule == PreTokenizer::kQwen2;
    data.whole_words_first = rule == PreTokenizer::kLlamaBpe;
    ExpectIds(*CreateOrDie(data), golden.at(name));
  }
}

TEST(SentencePieceGoldenTest, EveryModelGivesTheReferenceIds) {
  for (const nlohmann::json& model : ReadGolden("sentence_piece.json")) {
    const auto tokens = model.at("tokens").get<std::vector<std::string>>();
    TokenizerData data;
    data.kind = TokenizerKind::kSentencePiece;
    data.tokens.assign(tokens.begin(), tokens.end());
    data.scores = model.at("scores").get<std::vector<float>>();
    for (const int type : model.at("types")) {
      data.types.push_back(static_cast<TokenType>(type));
    }
    data.space_prefix = model.at("add_space_prefix").get<bool>()
                            ? SpacePrefix::kEverySection
                            : SpacePrefix::kNone;
    data.unknown_id = 0;
    const auto tokenizer = Tokenizer::Create(data);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ExpectIds(**tokenizer, model.at("cases"));
  }
}

}  // namespace
}  // namespace headwise
