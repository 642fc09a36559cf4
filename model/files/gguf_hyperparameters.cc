#include "model/files/gguf_hyperparameters.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/gguf_values.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

const TensorView* FindTensorIn(const GgufContainer& gguf,
                               absl::string_view name) {
  for (const TensorView& tensor : gguf.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

absl::StatusOr<Architecture> ParseArchitecture(absl::string_view name) {
  if (name == "llama") return Architecture::kLlama;
  if (name == "qwen2") return Architecture::kQwen2;
  if (name == "qwen3") return Architecture::kQwen3;
  return absl::UnimplementedError(
      absl::StrCat("architecture ", Quoted(name),
                   " (GGUF key \"general.architecture\"); we have llama, "
                   "qwen2, qwen3"));
}

// Reads `<architecture>.<name>` keys.
class Section {
 public:
  Section(const GgufContainer& gguf, absl::string_view architecture)
      : gguf_(gguf), prefix_(absl::StrCat(architecture, ".")) {}

  absl::Status Int(absl::string_view name, int64_t* value) const {
    HEADWISE_ASSIGN_OR_RETURN(*value,
                              RequireInt(gguf_, absl::StrCat(prefix_, name)));
    return absl::OkStatus();
  }
  // Leaves `value` as it is if the key is absent.
  absl::Status OptionalInt(absl::string_view name, int64_t* value) const {
    HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> found,
                              FindInt(gguf_, absl::StrCat(prefix_, name)));
    if (found) *value = *found;
    return absl::OkStatus();
  }
  absl::Status OptionalReal(absl::string_view name, double* value) const {
    HEADWISE_ASSIGN_OR_RETURN(const std::optional<double> found,
                              FindReal(gguf_, absl::StrCat(prefix_, name)));
    if (found) *value = *found;
    return absl::OkStatus();
  }
  // Unimplemented if the key holds something else than `allowed`.
  absl::Status IntMustBe(absl::string_view name, int64_t allowed) const {
    int64_t value = allowed;
    HEADWISE_RETURN_IF_ERROR(OptionalInt(name, &value));
    if (value == allowed) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrCat("GGUF key \"", prefix_, name,
                                                 "\" is ", value, "; we have ",
                                                 allowed, " only"));
  }
  absl::StatusOr<std::optional<absl::string_view>> Text(
      absl::string_view name) const {
    return FindText(gguf_, absl::StrCat(prefix_, name));
  }
  absl::StatusOr<std::optional<bool>> Bool(absl::string_view name) const {
    return FindBool(gguf_, absl::StrCat(prefix_, name));
  }
  absl::StatusOr<double> Real(absl::string_view name) const {
    return RequireReal(gguf_, absl::StrCat(prefix_, name));
  }

 private:
  const GgufContainer& gguf_;
  const std::string prefix_;
};

// A head count may be an array, one per layer; we have one for all.
absl::Status ReadHeads(const Section& section, Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      section.Int("attention.head_count", &hyper.num_heads));
  hyper.num_kv_heads = hyper.num_heads;
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalInt("attention.head_count_kv", &hyper.num_kv_heads));
  if (hyper.num_heads < 1 || hyper.num_heads > kMaxHeads) {
    return ValidateHyperparameters(hyper);
  }
  hyper.head_dim = hyper.model_dim / hyper.num_heads;
  const bool divides = hyper.model_dim % hyper.num_heads == 0;
  int64_t key_length = divides ? hyper.head_dim : 0;
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalInt("attention.key_length", &key_length));
  if (key_length == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head count ", hyper.num_heads, " does not divide model dimension ",
        hyper.model_dim, " and there is no key attention.key_length"));
  }
  hyper.head_dim = key_length;
  return section.IntMustBe("attention.value_length", key_length);
}

absl::StatusOr<RopeScalingKind> ParseScalingKind(absl::string_view name) {
  if (name == "none") return RopeScalingKind::kNone;
  if (name == "linear") return RopeScalingKind::kLinear;
  if (name == "yarn") return RopeScalingKind::kYarn;
  return absl::UnimplementedError(absl::StrCat("RoPE scaling ", Quoted(name),
                                               "; we have none, linear, yarn"));
}

absl::Status ReadYarn(const Section& section, RopeScaling& scaling) {
  double extrapolation = 1;
  double attention = 1;
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.yarn_ext_factor", &extrapolation));
  if (extrapolation != 1) {
    return absl::UnimplementedError(absl::StrCat(
        "YaRN extrapolation factor ", extrapolation, "; we have 1 only"));
  }
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.attn_factor", &attention));
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.yarn_attn_factor", &attention));
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.yarn_beta_fast", &scaling.beta_fast));
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.yarn_beta_slow", &scaling.beta_slow));
  // GGUF's factor is on top of YaRN's own 0.1 ln(factor) + 1.
  if (attention != 1) {
    scaling.attention_factor =
        attention *
        static_cast<double>(0.1L * std::log(static_cast<long double>(
                                       std::max(scaling.factor, 1.0))) +
                            1);
  }
  return absl::OkStatus();
}

absl::Status ReadScaling(const Section& section, RopeScaling& scaling) {
  HEADWISE_ASSIGN_OR_RETURN(const auto type, section.Text("rope.scaling.type"));
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scale_linear", &scaling.factor));
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalReal("rope.scaling.factor", &scaling.factor));
  if (type) {
    HEADWISE_ASSIGN_OR_RETURN(scaling.kind, ParseScalingKind(*type));
  } else if (scaling.factor != 1) {
    scaling.kind = RopeScalingKind::kLinear;  // files before scaling.type
  }
  HEADWISE_RETURN_IF_ERROR(section.OptionalInt(
      "rope.scaling.original_context_length", &scaling.original_context_len));
  return scaling.kind == RopeScalingKind::kYarn ? ReadYarn(section, scaling)
                                                : absl::OkStatus();
}

// A Llama-3 file carries its scaling as one divisor per pair.
absl::Status ReadFrequencyDivisors(const GgufContainer& gguf, Rope& rope) {
  const TensorView* tensor = FindTensorIn(gguf, "rope_freqs.weight");
  if (tensor == nullptr) return absl::OkStatus();
  if (tensor->dtype != DType::kF32 || tensor->shape.size() != 1 ||
      tensor->shape[0] != rope.rotary_dim / 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"rope_freqs.weight\" has ", tensor->shape.size(),
        " dimensions, ", tensor->cols(), " columns and type ",
        InfoOf(tensor->dtype).name, "; want F32 [", rope.rotary_dim / 2, "]"));
  }
  std::vector<float> divisors(tensor->cols());
  DequantizeRow(*tensor, 0, absl::MakeSpan(divisors));
  rope.frequency_divisors.assign(divisors.begin(), divisors.end());
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufContainer& gguf, const Section& section,
                      Hyperparameters& hyper) {
  Rope& rope = hyper.rope;
  rope.layout = hyper.architecture == Architecture::kLlama
                    ? RopeLayout::kInterleaved
                    : RopeLayout::kHalfSplit;
  rope.rotary_dim = hyper.head_dim;
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalInt("rope.dimension_count", &rope.rotary_dim));
  HEADWISE_RETURN_IF_ERROR(section.OptionalReal("rope.freq_base", &rope.base));
  HEADWISE_RETURN_IF_ERROR(ReadScaling(section, rope.scaling));
  return ReadFrequencyDivisors(gguf, rope);
}

// What llama-family files may ask for and we do not have.
absl::Status RefuseVariants(const Section& section) {
  HEADWISE_RETURN_IF_ERROR(section.IntMustBe("expert_count", 0));
  HEADWISE_ASSIGN_OR_RETURN(const auto is_causal,
                            section.Bool("attention.causal"));
  if (is_causal && !*is_causal) {
    return absl::UnimplementedError(
        "GGUF key attention.causal is false: bidirectional attention");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Hyperparameters> ReadGgufHyperparameters(
    const GgufContainer& gguf, int64_t vocab_size) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view architecture,
                            RequireText(gguf, "general.architecture"));
  Hyperparameters hyper;
  HEADWISE_ASSIGN_OR_RETURN(hyper.architecture,
                            ParseArchitecture(architecture));
  const Section section(gguf, architecture);
  HEADWISE_RETURN_IF_ERROR(RefuseVariants(section));
  HEADWISE_ASSIGN_OR_RETURN(const auto name, FindText(gguf, "general.name"));
  hyper.name = std::string(name.value_or(""));
  HEADWISE_RETURN_IF_ERROR(section.Int("block_count", &hyper.num_layers));
  HEADWISE_RETURN_IF_ERROR(section.Int("embedding_length", &hyper.model_dim));
  HEADWISE_RETURN_IF_ERROR(section.Int("feed_forward_length", &hyper.ffn_dim));
  HEADWISE_RETURN_IF_ERROR(
      section.Int("context_length", &hyper.max_context_len));
  HEADWISE_ASSIGN_OR_RETURN(const double epsilon,
                            section.Real("attention.layer_norm_rms_epsilon"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.norm_epsilon, CheckedNormEpsilon(epsilon));
  hyper.vocab_size = vocab_size;
  HEADWISE_RETURN_IF_ERROR(section.OptionalInt("vocab_size", &vocab_size));
  if (vocab_size != hyper.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GGUF key \"", architecture, ".vocab_size\" is ", vocab_size,
        " but the tokenizer has ", hyper.vocab_size, " tokens"));
  }
  HEADWISE_RETURN_IF_ERROR(ReadHeads(section, hyper));
  HEADWISE_RETURN_IF_ERROR(ReadRope(gguf, section, hyper));
  int64_t window = hyper.max_context_len;
  HEADWISE_RETURN_IF_ERROR(
      section.OptionalInt("attention.sliding_window", &window));
  // Within the window sliding attention is full attention, which we have.
  if (window > 0) {
    hyper.max_context_len = std::min(hyper.max_context_len, window);
  }
  hyper.qkv_bias = hyper.architecture == Architecture::kQwen2 ||
                   FindTensorIn(gguf, "blk.0.attn_q.bias") != nullptr;
  hyper.qk_norm = hyper.architecture == Architecture::kQwen3;
  hyper.tied_embeddings = FindTensorIn(gguf, "output.weight") == nullptr;
  HEADWISE_RETURN_IF_ERROR(ValidateHyperparameters(hyper));
  return hyper;
}

}  // namespace headwise
