// What a GGUF file may say wrongly about its model: one change of a valid tiny
// file per expectation. The container's own faults: gguf_container_test.cc.

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/gguf_model.h"
#include "model/files/test_bytes.h"
#include "model/files/test_model_tokenizer.h"
#include "model/files/test_model_writer.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

using Change = std::function<void(GgufWriter&)>;

void ExpectError(const TinyModelOptions& options, const Change& change,
                 absl::StatusCode code, const std::string& words) {
  GgufWriter writer = MakeTinyGguf(options);
  change(writer);
  const TestBytes bytes(writer.Finish());
  const auto result = ParseGgufModel(bytes.span());
  ASSERT_FALSE(result.ok()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
}
void ExpectInvalid(const Change& change, const std::string& words) {
  ExpectError({}, change, absl::StatusCode::kInvalidArgument, words);
}
void ExpectUnimplemented(const Change& change, const std::string& words) {
  ExpectError({}, change, absl::StatusCode::kUnimplemented, words);
}
void ReplaceInt(GgufWriter& writer, const std::string& key, uint32_t value) {
  writer.Remove(key);
  writer.AddUint32(key, value);
}
void ExpectBadInt(const std::string& key, uint32_t value,
                  const std::string& words) {
  ExpectInvalid([&](GgufWriter& w) { ReplaceInt(w, key, value); }, words);
}
void ExpectBadReal(const std::string& key, float value,
                   const std::string& words) {
  ExpectInvalid(
      [&](GgufWriter& w) {
        w.Remove(key);
        w.AddFloat32(key, value);
      },
      words);
}

TEST(GgufModelHostile, NamesWhatItDoesNotHave) {
  ExpectUnimplemented(
      [](GgufWriter& w) {
        w.Remove("general.architecture");
        w.AddText("general.architecture", "gemma");
      },
      "architecture \"gemma\"");
  ExpectUnimplemented(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.pre");
        w.AddText("tokenizer.ggml.pre", "tekken");
      },
      "pre-tokenizer \"tekken\"");
  ExpectUnimplemented([](GgufWriter& w) { w.Remove("tokenizer.ggml.pre"); },
                      "pre-tokenizer (key absent)");
  ExpectUnimplemented(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.model");
        w.AddText("tokenizer.ggml.model", "t5");
      },
      "tokenizer model \"t5\"");
  ExpectUnimplemented(
      [](GgufWriter& w) { w.AddText("llama.rope.scaling.type", "longrope"); },
      "RoPE scaling \"longrope\"");
  ExpectUnimplemented(
      [](GgufWriter& w) { w.AddUint32("llama.expert_count", 8); },
      "llama.expert_count\" is 8");
  ExpectUnimplemented(
      [](GgufWriter& w) { w.AddBool("llama.attention.causal", false); },
      "attention.causal");
  ExpectUnimplemented(
      [](GgufWriter& w) { ReplaceInt(w, "llama.attention.value_length", 32); },
      "value_length\" is 32");
}

TEST(GgufModelHostile, MissingKeysAreNamed) {
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.context_length",
        "llama.embedding_length", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model", "tokenizer.ggml.merges"}) {
    ExpectInvalid([&](GgufWriter& w) { w.Remove(key); },
                  absl::StrCat("\"", key, "\" is missing"));
  }
  ExpectInvalid([](GgufWriter& w) { w.Remove("tokenizer.ggml.tokens"); },
                "vocabulary size is 0");
}

TEST(GgufModelHostile, LimitsOfTheShape) {
  ExpectBadInt("llama.block_count", 0, "layer count is 0");
  ExpectBadInt("llama.block_count", 1025, "layer count is 1025");
  ExpectBadInt("llama.block_count", 0xffffffff, "limits 1 to 1024");
  ExpectBadInt("llama.attention.head_count", 0, "head count is 0");
  ExpectBadInt("llama.attention.head_count", 1025, "head count is 1025");
  ExpectBadInt("llama.attention.head_count_kv", 0, "kv head count is 0");
  ExpectBadInt("llama.embedding_length", 0, "model dimension is 0");
  ExpectBadInt("llama.embedding_length", 1 << 19, "model dimension is 524288");
  ExpectBadInt("llama.feed_forward_length", 0, "feed-forward dimension is 0");
  ExpectBadInt("llama.context_length", 0, "context length is 0");
  ExpectBadInt("llama.context_length", 0xffffffff, "context length is 42949");
  ExpectBadInt("llama.rope.dimension_count", 15, "15 is odd");
  ExpectBadInt("llama.rope.dimension_count", 18, "is 18, outside");
  ExpectBadInt("llama.vocab_size", 321, "but the tokenizer has 320 tokens");
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("llama.block_count");
        w.AddRaw("llama.block_count", static_cast<uint32_t>(GgufType::kInt32),
                 RawBytes<int32_t>(-1));
      },
      "layer count is -1");
}

TEST(GgufModelHostile, HeadDimensions) {
  const auto with_head_dim = [](uint32_t value) {
    return [value](GgufWriter& w) {
      ReplaceInt(w, "llama.attention.key_length", value);
      ReplaceInt(w, "llama.attention.value_length", value);
      w.Remove("llama.rope.dimension_count");
    };
  };
  ExpectInvalid(with_head_dim(24), "24 is not a multiple of 16");
  ExpectInvalid(with_head_dim(2048), "head dimension is 2048");
  ExpectInvalid(with_head_dim(32), "has shape");
}

TEST(GgufModelHostile, HeadCountsThatContradictEachOther) {
  ExpectBadInt("llama.attention.head_count_kv", 3,
               "kv head count 3 does not divide head count 4");
  ExpectBadInt("llama.attention.head_count_kv", 8,
               "kv head count 8 does not divide head count 4");
  ExpectBadInt("llama.attention.head_count_kv", 4,
               "\"blk.0.attn_k.weight\" has shape [32, 64]; the "
               "hyperparameters want [64, 64]");
  ExpectInvalid(
      [](GgufWriter& w) {
        ReplaceInt(w, "llama.attention.head_count", 3);
        ReplaceInt(w, "llama.attention.head_count_kv", 3);
        w.Remove("llama.attention.key_length");
      },
      "head count 3 does not divide model dimension 64");
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("llama.attention.head_count");
        w.AddInt32Array("llama.attention.head_count", {4, 4});
      },
      "has type array of int32");
}

TEST(GgufModelHostile, NanAndInfiniteHyperparameters) {
  for (const float bad : {kNan, kInf, -kInf, 0.0f, -1.0f}) {
    ExpectBadReal("llama.rope.freq_base", bad, "RoPE base");
    ExpectBadReal("llama.attention.layer_norm_rms_epsilon", bad,
                  "norm epsilon");
    ExpectInvalid(
        [&](GgufWriter& w) {
          w.AddText("llama.rope.scaling.type", "linear");
          w.AddFloat32("llama.rope.scaling.factor", bad);
        },
        "RoPE scaling factor");
  }
  ExpectBadReal("llama.attention.layer_norm_rms_epsilon", 0.5f, "0.1");
}

TEST(GgufModelHostile, YarnParameters) {
  for (const char* key :
       {"yarn_beta_fast", "yarn_beta_slow", "yarn_attn_factor"}) {
    ExpectInvalid(
        [&](GgufWriter& w) {
          w.AddText("llama.rope.scaling.type", "yarn");
          w.AddFloat32("llama.rope.scaling.factor", 2.0f);
          w.AddUint32("llama.rope.scaling.original_context_length", 128);
          w.AddFloat32(absl::StrCat("llama.rope.scaling.", key), kNan);
        },
        "YaRN");
  }
  ExpectInvalid(
      [](GgufWriter& w) {
        w.AddText("llama.rope.scaling.type", "yarn");
        w.AddFloat32("llama.rope.scaling.factor", 2.0f);
      },
      "original context length is 0");
}

TEST(GgufModelHostile, FrequencyDivisors) {
  const auto with_divisors = [](std::vector<float> divisors) {
    return [divisors](GgufWriter& w) {
      std::string bytes;
      for (const float divisor : divisors) bytes += RawBytes(divisor);
      w.AddTensor("rope_freqs.weight", {static_cast<int64_t>(divisors.size())},
                  DType::kF32, bytes);
    };
  };
  for (const float bad : {kNan, kInf, 0.0f, -1.0f}) {
    std::vector<float> divisors(8, 1.0f);
    divisors[5] = bad;
    ExpectInvalid(with_divisors(divisors), "frequency divisor 5");
  }
  ExpectInvalid(with_divisors(std::vector<float>(7, 1.0f)), "want F32 [8]");
}

TEST(GgufModelHostile, MissingTensorsAreNamed) {
  for (const TinyTensor& tensor : MakeTinyWeights({})) {
    ExpectInvalid(
        [&](GgufWriter& w) { w.FindTensor(tensor.name)->name = "other"; },
        absl::StrCat("tensor \"", tensor.name, "\""));
  }
  ExpectBadInt("llama.block_count", 3, "\"blk.2.attn_norm.weight\"");
}

TEST(GgufModelHostile, TensorsWithoutAUseAreRefused) {
  ExpectUnimplemented(
      [](GgufWriter& w) {
        w.AddTensor("blk.0.attn_output.bias", {64}, DType::kF32,
                    std::string(256, '\0'));
      },
      "\"blk.0.attn_output.bias\" of shape [64]");
  ExpectError(
      {}, [](GgufWriter& w) { ReplaceInt(w, "llama.block_count", 1); },
      absl::StatusCode::kUnimplemented, "\"blk.1.attn_norm.weight\"");
}

TEST(GgufModelHostile, WrongShapesAreNamedWithBothShapes) {
  ExpectInvalid(
      [](GgufWriter& w) {
        w.FindTensor("blk.1.ffn_down.weight")->dimensions = {64, 96};
      },
      "\"blk.1.ffn_down.weight\" has shape [96, 64]; the hyperparameters want "
      "[64, 96]");
  ExpectInvalid(
      [](GgufWriter& w) {
        w.FindTensor("output_norm.weight")->dimensions = {64, 1};
      },
      "has shape [1, 64]");
}

TEST(GgufModelHostile, QuantizedVectors) {
  ExpectUnimplemented(
      [](GgufWriter& w) {
        GgufWriter::Tensor& norm = *w.FindTensor("output_norm.weight");
        norm.type = 8;
        norm.bytes.resize(68);
      },
      "a vector quantized to Q8_0");
}

TEST(GgufModelHostile, ArrayTypeMismatch) {
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.tokens");
        w.AddInt32Array("tokenizer.ggml.tokens", std::vector<int32_t>(320, 1));
      },
      "\"tokenizer.ggml.tokens\" has type array of int32");
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.token_type");
        w.AddFloat32Array("tokenizer.ggml.token_type", {1.0f});
      },
      "\"tokenizer.ggml.token_type\" has type array of float32");
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.merges");
        w.AddText("tokenizer.ggml.merges", "a b");
      },
      "\"tokenizer.ggml.merges\" has type string");
}

TEST(GgufModelHostile, TokenizerArraysOfDifferentSize) {
  ExpectInvalid(
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.token_type");
        w.AddInt32Array("tokenizer.ggml.token_type", {1, 1});
      },
      "has 2 elements for 320 tokens");
  TinyModelOptions options;
  options.tokenizer = TokenizerKind::kSentencePiece;
  ExpectError(
      options,
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.scores");
        w.AddFloat32Array("tokenizer.ggml.scores",
                          std::vector<float>(319, 0.0f));
      },
      absl::StatusCode::kInvalidArgument, "has 319 elements for 320 tokens");
  ExpectError(
      options,
      [](GgufWriter& w) {
        w.Remove("tokenizer.ggml.scores");
        w.AddFloat32Array("tokenizer.ggml.scores",
                          std::vector<float>(320, kNan));
      },
      absl::StatusCode::kInvalidArgument, "score of token 0 is not a number");
}

TEST(GgufModelHostile, ByteTokensThatAreNoBytes) {
  TinyModelOptions options;
  options.tokenizer = TokenizerKind::kSentencePiece;
  for (const char* text : {"<0x-1>", "<0x+1>", "<0x 1>", "<0x1>", "<0x100>",
                           "<0xG0>", "<0x0G>", "0x00", "", "<0x00"}) {
    ExpectError(
        options,
        [&](GgufWriter& w) {
          std::vector<std::string> tokens = MakeTinyVocabulary(options).tokens;
          tokens[5] = text;
          w.Remove("tokenizer.ggml.tokens");
          w.AddTextArray("tokenizer.ggml.tokens", tokens);
        },
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("byte token 5 is \"", text, "\""));
  }
}

TEST(GgufModelHostile, TokensThatAreTooLong) {
  ExpectInvalid(
      [](GgufWriter& w) {
        std::vector<std::string> tokens = MakeTinyVocabulary({}).tokens;
        tokens[7] = std::string(4097, 'x');
        w.Remove("tokenizer.ggml.tokens");
        w.AddTextArray("tokenizer.ggml.tokens", tokens);
      },
      "token 7 has 4097 bytes; the limit is 4096");
}

TEST(GgufModelHostile, TokenTypesAndIdsOutOfRange) {
  for (const int32_t type : {0, 7, -1}) {
    ExpectInvalid(
        [&](GgufWriter& w) {
          w.Remove("tokenizer.ggml.token_type");
          w.AddInt32Array("tokenizer.ggml.token_type",
                          std::vector<int32_t>(320, type));
        },
        absl::StrCat("type ", type, " of token 0"));
  }
  for (const char* key :
       {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.eot_token_id"}) {
    ExpectBadInt(key, 320, absl::StrCat("\"", key, "\" is 320"));
  }
}

// Every prefix that ends in the part before the data, then some of the data's:
// always an error, never a crash; under sanitizers, never a read too far.
TEST(GgufModelHostile, TruncationAtEverySection) {
  TinyModelOptions options;
  options.num_layers = 1;
  options.vocab_size = 288;
  const std::string whole = WriteTinyGguf(options);
  const size_t data_begin = whole.size() - 4 * 64 * (288 + 1);
  for (size_t size = 0; size < whole.size();
       size += size < data_begin / 2 ? 7 : 101) {
    const TestBytes bytes(whole.substr(0, size));
    const auto result = ParseGgufModel(bytes.span());
    ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument)
        << size << ": " << result.status();
  }
}

}  // namespace
}  // namespace headwise
