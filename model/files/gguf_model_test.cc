#include "model/files/gguf_model.h"

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_bytes.h"
#include "model/files/test_model_tokenizer.h"
#include "model/files/test_model_writer.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct ModelCase {
  std::string name;
  TinyModelOptions options;
};
void PrintTo(const ModelCase& model_case, std::ostream* out) {
  *out << model_case.name;
}

std::vector<ModelCase> ModelCases() {
  std::vector<ModelCase> cases;
  for (const Architecture architecture :
       {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3}) {
    for (const bool is_tied : {true, false}) {
      TinyModelOptions options;
      options.architecture = architecture;
      options.tied_embeddings = is_tied;
      cases.push_back(
          {absl::StrCat("architecture", static_cast<int>(architecture),
                        is_tied ? "tied" : "untied"),
           options});
    }
  }
  for (int dtype = 0; dtype <= static_cast<int>(DType::kQ6_K); ++dtype) {
    TinyModelOptions options;
    options.dtype = static_cast<DType>(dtype);
    options.embedding_dtype = DType::kQ8_0;
    options.head_dim = 64;
    options.model_dim = 256;
    options.ffn_dim = 512;
    cases.push_back({InfoOf(options.dtype).name, options});
  }
  TinyModelOptions uneven;  // model_dim differs from heads * head_dim
  uneven.num_heads = 3;
  uneven.num_kv_heads = 1;
  uneven.head_dim = 32;
  cases.push_back({"uneven", uneven});
  TinyModelOptions sentence_piece;
  sentence_piece.tokenizer = TokenizerKind::kSentencePiece;
  cases.push_back({"sentencepiece", sentence_piece});
  return cases;
}

class TinyGgufTest : public testing::TestWithParam<ModelCase> {};

TEST_P(TinyGgufTest, ReadsWhatWasWritten) {
  const TinyModelOptions& options = GetParam().options;
  const TestBytes bytes(WriteTinyGguf(options));
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  const Hyperparameters& hyper = parts->hyperparameters;
  const Hyperparameters expected = TinyHyperparameters(options);
  EXPECT_EQ(hyper.architecture, expected.architecture);
  EXPECT_EQ(hyper.name, "tiny");
  EXPECT_EQ(hyper.num_layers, expected.num_layers);
  EXPECT_EQ(hyper.num_heads, expected.num_heads);
  EXPECT_EQ(hyper.num_kv_heads, expected.num_kv_heads);
  EXPECT_EQ(hyper.head_dim, expected.head_dim);
  EXPECT_EQ(hyper.model_dim, expected.model_dim);
  EXPECT_EQ(hyper.ffn_dim, expected.ffn_dim);
  EXPECT_EQ(hyper.vocab_size, expected.vocab_size);
  EXPECT_EQ(hyper.max_context_len, expected.max_context_len);
  EXPECT_EQ(hyper.norm_epsilon, expected.norm_epsilon);
  EXPECT_EQ(hyper.qkv_bias, expected.qkv_bias);
  EXPECT_EQ(hyper.qk_norm, expected.qk_norm);
  EXPECT_EQ(hyper.tied_embeddings, expected.tied_embeddings);
  EXPECT_EQ(hyper.rope.rotary_dim, options.head_dim);
  EXPECT_EQ(hyper.rope.layout, options.architecture == Architecture::kLlama
                                   ? RopeLayout::kInterleaved
                                   : RopeLayout::kHalfSplit);
  const std::vector<TinyTensor> weights = MakeTinyWeights(options);
  ASSERT_EQ(parts->tensors.size(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(parts->tensors[i].name, weights[i].name);
    EXPECT_EQ(parts->tensors[i].shape, weights[i].shape);
    EXPECT_EQ(parts->tensors[i].dtype, weights[i].dtype);
  }
  EXPECT_EQ(parts->tensors[0].bytes, weights[0].View().bytes);
  EXPECT_EQ(parts->chat_template, kTinyChatTemplate);
}

TEST_P(TinyGgufTest, ReadsItsTokenizer) {
  const TinyModelOptions& options = GetParam().options;
  const TestBytes bytes(WriteTinyGguf(options));
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  const TokenizerData& data = parts->tokenizer;
  const TinyVocabulary expected = MakeTinyVocabulary(options);
  EXPECT_EQ(data.kind, options.tokenizer);
  EXPECT_EQ(std::vector<std::string>(data.tokens.begin(), data.tokens.end()),
            expected.tokens);
  EXPECT_EQ(data.types, expected.types);
  EXPECT_EQ(data.scores, expected.scores);
  EXPECT_EQ(data.bos_id, 1);
  EXPECT_EQ(data.eos_id, 2);
  EXPECT_EQ(data.unknown_id, 0);
  EXPECT_THAT(data.storage, IsEmpty());  // views of the file only
  if (options.tokenizer == TokenizerKind::kSentencePiece) {
    EXPECT_TRUE(data.add_bos);
    EXPECT_EQ(data.space_prefix, SpacePrefix::kEverySection);
    EXPECT_THAT(data.end_of_turn_ids, ElementsAre(4));  // <|im_end|>
    return;
  }
  EXPECT_FALSE(data.add_bos);
  EXPECT_EQ(data.space_prefix, SpacePrefix::kNone);
  const bool is_llama = options.architecture == Architecture::kLlama;
  EXPECT_EQ(data.pre_tokenizer,
            is_llama ? PreTokenizer::kSmollm : PreTokenizer::kQwen2);
  EXPECT_EQ(data.normalize_nfc, !is_llama);
  EXPECT_THAT(data.end_of_turn_ids, ElementsAre(0));  // <|endoftext|>
  ASSERT_EQ(data.merges.size(), expected.merges.size());
  EXPECT_EQ(data.merges[0], "\xc4\xa0 t");
}

INSTANTIATE_TEST_SUITE_P(Models, TinyGgufTest, testing::ValuesIn(ModelCases()),
                         [](const auto& info) { return info.param.name; });

TEST(GgufModel, LlamaRowsAreInterleavedAndQwenRowsAreNot) {
  TinyModelOptions options;
  const TestBytes bytes(WriteTinyGguf(options));
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  // Order of model.h: embedding, output norm, attn_norm, attn_q.
  const TinyTensor weights = MakeTinyWeights(options)[3];
  const TensorView& query = parts->tensors[3];
  ASSERT_EQ(query.name, "blk.0.attn_q.weight");
  const auto row = [](const TensorView& view, int64_t r) {
    return view.bytes.subspan(r * view.row_bytes(), view.row_bytes());
  };
  const TensorView plain = weights.View();
  EXPECT_EQ(row(query, 0), row(plain, 0));
  EXPECT_EQ(row(query, 1), row(plain, 8));  // head_dim / 2
  EXPECT_EQ(row(query, 15), row(plain, 15));
  EXPECT_EQ(row(query, 18), row(plain, 17));  // second head, pair 1, first
}

TEST(GgufModel, RopeScalingOfEveryKind) {
  for (const RopeScalingKind kind :
       {RopeScalingKind::kLinear, RopeScalingKind::kYarn,
        RopeScalingKind::kLlama3}) {
    TinyModelOptions options;
    options.rope_scaling.kind = kind;
    options.rope_scaling.factor = 4.0;
    options.rope_scaling.original_context_len = 128;
    const TestBytes bytes(WriteTinyGguf(options));
    const auto parts = ParseGgufModel(bytes.span());
    ASSERT_TRUE(parts.ok()) << parts.status();
    const RopeFrequencies read =
        ComputeRopeFrequencies(parts->hyperparameters.rope);
    const RopeFrequencies written =
        ComputeRopeFrequencies(TinyHyperparameters(options).rope);
    EXPECT_EQ(read.magnitude, written.magnitude);
    EXPECT_EQ(parts->hyperparameters.rope.frequency_divisors.empty(),
              kind != RopeScalingKind::kLlama3);
    for (size_t i = 0; i < read.inverse_frequencies.size(); ++i) {
      // The divisors of a Llama-3 file are fp32: half an ulp of 24 bits.
      EXPECT_NEAR(read.inverse_frequencies[i], written.inverse_frequencies[i],
                  0x1p-24 * written.inverse_frequencies[i]);
    }
    for (const TensorView& tensor : parts->tensors) {
      EXPECT_NE(tensor.name, "rope_freqs.weight");
    }
  }
}

TEST(GgufModel, ABareScaleLinearMeansLinearScaling) {
  GgufWriter writer = MakeTinyGguf({});
  writer.AddFloat32("llama.rope.scale_linear", 2.0f);
  const TestBytes bytes(writer.Finish());
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->hyperparameters.rope.scaling.kind, RopeScalingKind::kLinear);
  EXPECT_EQ(parts->hyperparameters.rope.scaling.factor, 2.0);
}

TEST(GgufModel, ASlidingWindowLimitsTheContext) {
  GgufWriter writer = MakeTinyGguf({});
  writer.AddUint32("llama.attention.sliding_window", 100);
  const TestBytes bytes(writer.Finish());
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->hyperparameters.max_context_len, 100);
}

TEST(GgufModel, LlamaMayHaveBiases) {
  GgufWriter writer = MakeTinyGguf({});
  for (int layer = 0; layer < 2; ++layer) {
    const std::string block = absl::StrCat("blk.", layer, ".");
    writer.AddTensor(block + "attn_q.bias", {64}, DType::kF32,
                     std::string(256, '\0'));
    writer.AddTensor(block + "attn_k.bias", {32}, DType::kF32,
                     std::string(128, '\0'));
    writer.AddTensor(block + "attn_v.bias", {32}, DType::kF32,
                     std::string(128, '\0'));
  }
  const TestBytes bytes(writer.Finish());
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_TRUE(parts->hyperparameters.qkv_bias);
}

TEST(GgufModel, EndOfTurnKeysAndTextsAreJoined) {
  GgufWriter writer = MakeTinyGguf({});
  writer.AddUint32("tokenizer.ggml.eot_token_id", 7);
  writer.AddUint32("tokenizer.ggml.eom_token_id", 0xffffffff);  // none
  const TestBytes bytes(writer.Finish());
  const auto parts = ParseGgufModel(bytes.span());
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_THAT(parts->tokenizer.end_of_turn_ids, ElementsAre(0, 7));
}

}  // namespace
}  // namespace headwise
