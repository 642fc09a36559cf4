#include "model/files/titans_config.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/quoted.h"

namespace headwise {
namespace {

using Json = nlohmann::json;

// The widest of a head plan (model/head_plan/head_plan.h).
constexpr int64_t kMaxWindow = int64_t{1} << 20;

// Members of one object of the config, each with its range.
class Members {
 public:
  // `path` stands before the key in errors: "titans.memory.".
  Members(const Json& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  template <typename... Parts>
  absl::Status Bad(const char* key, const Parts&... parts) const {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: key ", Quoted(path_ + key), parts...));
  }

  absl::StatusOr<Members> Object(const char* key) const {
    const Json* member = JsonMember(object_, key);
    if (member == nullptr) return Bad(key, " is missing");
    if (!member->is_object()) {
      return Bad(key, " is of type ", member->type_name(), ", want an object");
    }
    return Members(*member, absl::StrCat(path_, key, "."));
  }

  bool Has(const char* key) const {
    return JsonMember(object_, key) != nullptr;
  }

  // A multiple of `step` from `low` to `high`.
  absl::Status Int(const char* key, int64_t low, int64_t high, int64_t step,
                   int64_t* value) const {
    HEADWISE_ASSIGN_OR_RETURN(const auto given, JsonInt(object_, key));
    if (!given) return Bad(key, " is missing");
    *value = *given;
    if (*value >= low && *value <= high && *value % step == 0) {
      return absl::OkStatus();
    }
    return Bad(key, " is ", *value, ", want ",
               step == 1 ? "" : absl::StrCat("a multiple of ", step, ", "), low,
               " to ", high);
  }

  // From `low` to `high`; above `low` if `is_open`.
  absl::Status Real(const char* key, double low, double high, bool is_open,
                    float* value) const {
    HEADWISE_ASSIGN_OR_RETURN(const auto given, JsonReal(object_, key));
    if (!given) return Bad(key, " is missing");
    *value = static_cast<float>(*given);
    if (*value >= static_cast<float>(low) && *given <= high &&
        !(is_open && *value == static_cast<float>(low))) {
      return absl::OkStatus();
    }
    return Bad(key, " is ", *given, ", want ", is_open ? "above " : "from ",
               low, " to ", high);
  }

  absl::StatusOr<std::string> Text(const char* key) const {
    HEADWISE_ASSIGN_OR_RETURN(const auto given, JsonText(object_, key));
    if (!given) return Bad(key, " is missing");
    return *given;
  }

  absl::StatusOr<bool> Bool(const char* key) const {
    HEADWISE_ASSIGN_OR_RETURN(const auto given, JsonBool(object_, key));
    if (!given) return Bad(key, " is missing");
    return *given;
  }

  // One of {name, value} pairs.
  template <typename T, size_t n>
  absl::Status Choice(const char* key,
                      const std::pair<const char*, T> (&choices)[n],
                      T* value) const {
    HEADWISE_ASSIGN_OR_RETURN(const std::string given, Text(key));
    std::string known;
    for (const auto& [name, choice] : choices) {
      if (given == name) {
        *value = choice;
        return absl::OkStatus();
      }
      absl::StrAppend(&known, known.empty() ? "" : ", ", name);
    }
    return Bad(key, " is ", Quoted(given), ", want one of ", known);
  }

 private:
  const Json& object_;
  std::string path_;
};

constexpr std::pair<const char*, TitansVariant> kVariants[] = {
    {"mac", TitansVariant::kMac}, {"mag", TitansVariant::kMag},
    {"mal", TitansVariant::kMal}, {"lmm", TitansVariant::kLmm},
    {"swa", TitansVariant::kSwa},
};
constexpr std::pair<const char*, MemoryActivation> kActivations[] = {
    {"silu", MemoryActivation::kSilu}, {"gelu", MemoryActivation::kGelu}};
constexpr std::pair<const char*, MemoryNorm> kNorms[] = {
    {"none", MemoryNorm::kNone},
    {"layer", MemoryNorm::kLayer},
    {"rms", MemoryNorm::kRms},
};

absl::StatusOr<MemorySpec> ReadMemory(const Members& members,
                                      int64_t head_dim) {
  MemorySpec spec;
  spec.head_dim = head_dim;
  HEADWISE_RETURN_IF_ERROR(
      members.Int("num_layers", 1, 4, 1, &spec.num_layers));
  if (spec.num_layers > 1) {
    HEADWISE_RETURN_IF_ERROR(
        members.Int("hidden_dim", 16, 1024, 16, &spec.hidden_dim));
  } else {
    spec.hidden_dim = 0;  // a single layer has no hidden one
    if (members.Has("hidden_dim")) {
      HEADWISE_RETURN_IF_ERROR(
          members.Int("hidden_dim", 0, 0, 1, &spec.hidden_dim));
    }
  }
  HEADWISE_RETURN_IF_ERROR(
      members.Choice("activation", kActivations, &spec.activation));
  HEADWISE_RETURN_IF_ERROR(members.Choice("norm", kNorms, &spec.norm));
  HEADWISE_ASSIGN_OR_RETURN(spec.residual, members.Bool("residual"));
  HEADWISE_RETURN_IF_ERROR(
      members.Int("chunk_len", 1, 4096, 1, &spec.chunk_len));
  HEADWISE_RETURN_IF_ERROR(members.Real("loss_scale", 0, 1000,
                                        /*is_open=*/true, &spec.loss_scale));
  HEADWISE_RETURN_IF_ERROR(
      members.Real("max_norm", 0, 1e18, /*is_open=*/true, &spec.max_norm));
  return spec;
}

absl::Status ReadAttention(const Members& members,
                           TitansHyperparameters* titans) {
  HEADWISE_RETURN_IF_ERROR(
      members.Int("window", 1, kMaxWindow, 1, &titans->window));
  return members.Int("num_persistent", 0, 256, 1, &titans->num_persistent);
}

}  // namespace

absl::StatusOr<TitansHyperparameters> ReadTitansConfig(
    const Json& config, const Hyperparameters& hyper) {
  if (hyper.num_kv_heads != hyper.num_heads) {
    return absl::UnimplementedError(absl::StrCat(
        "config.json: num_key_value_heads ", hyper.num_kv_heads,
        " in a titans model; we have as many as num_attention_heads, ",
        hyper.num_heads));
  }
  HEADWISE_ASSIGN_OR_RETURN(const Members members,
                            Members(config, "").Object("titans"));
  TitansHyperparameters titans;
  HEADWISE_RETURN_IF_ERROR(
      members.Choice("variant", kVariants, &titans.variant));
  if (titans.has_attention()) {
    HEADWISE_RETURN_IF_ERROR(ReadAttention(members, &titans));
  }
  if (!titans.has_memory()) return titans;
  if (hyper.head_dim > 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: head_dim is ", hyper.head_dim,
                     "; a head with a neural memory has 16 to 256"));
  }
  const bool is_mac = titans.variant == TitansVariant::kMac;
  if (!is_mac || members.Has("conv_kernel")) {
    HEADWISE_RETURN_IF_ERROR(
        members.Int("conv_kernel", 1, is_mac ? 1 : 8, 1, &titans.conv_kernel));
  }
  HEADWISE_RETURN_IF_ERROR(members.Real("gate_stretch", 0, 0.5,
                                        /*is_open=*/false,
                                        &titans.gate_stretch));
  HEADWISE_RETURN_IF_ERROR(
      members.Real("theta_max", 0, 1000, /*is_open=*/true, &titans.theta_max));
  HEADWISE_ASSIGN_OR_RETURN(const Members memory, members.Object("memory"));
  HEADWISE_ASSIGN_OR_RETURN(titans.memory, ReadMemory(memory, hyper.head_dim));
  if (is_mac && titans.window != titans.memory.chunk_len) {
    return members.Bad("window", " is ", titans.window,
                       "; in mac it must be memory.chunk_len, ",
                       titans.memory.chunk_len);
  }
  return titans;
}

}  // namespace headwise
