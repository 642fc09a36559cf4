#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/cli/memory_commands.h"
#include "client/cli/tensor_file.h"

namespace headwise {
namespace {

struct CreateFlags {
  MemoryFlags memory;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t num_layers = 2;
  int64_t hidden_dim = 0;
  std::string activation = "silu";
  std::string norm = "none";
  std::string rule = "token";
  std::string input_type = "fp32";
  bool no_residual = false;
  int64_t chunk_len = 64;
  float loss_scale = 2.0f;
  float max_norm = 1e4f;
  float theta = -1.0f;  // below 0: writes bring the gates
  float eta = 0.0f;
  float alpha = 0.0f;
  std::string weights;
  uint64_t seed = 0;
  std::string model;
  int64_t layer = 0;
  std::vector<int64_t> of_heads;
  std::string session_id;
  int64_t ttl_seconds = 0;
};

// The words were checked when the line was parsed.
v1::FloatType FloatTypeNamed(const std::string& name) {
  return name == "fp16"   ? v1::FLOAT_TYPE_FP16
         : name == "bf16" ? v1::FLOAT_TYPE_BF16
                          : v1::FLOAT_TYPE_FP32;
}

v1::MemoryNorm NormNamed(const std::string& name) {
  return name == "layer" ? v1::MEMORY_NORM_LAYER
         : name == "rms" ? v1::MEMORY_NORM_RMS
                         : v1::MEMORY_NORM_NONE;
}

void WriteSpec(const CreateFlags& flags, v1::MemorySpec* spec) {
  spec->set_num_heads(flags.num_heads);
  spec->set_head_dim(flags.head_dim);
  spec->set_num_layers(flags.num_layers);
  spec->set_hidden_dim(flags.hidden_dim);
  spec->set_activation(flags.activation == "gelu" ? v1::MEMORY_ACTIVATION_GELU
                                                  : v1::MEMORY_ACTIVATION_SILU);
  spec->set_norm(NormNamed(flags.norm));
  spec->set_residual(!flags.no_residual);
  spec->set_rule(flags.rule == "chunk" ? v1::MEMORY_RULE_CHUNK
                                       : v1::MEMORY_RULE_TOKEN);
  spec->set_chunk_len(flags.chunk_len);
  spec->set_loss_scale(flags.loss_scale);
  spec->set_max_norm(flags.max_norm);
}

absl::StatusOr<v1::CreateMemoryRequest> RequestOf(const CreateFlags& flags) {
  v1::CreateMemoryRequest request;
  v1::MemoryConfig* config = request.mutable_config();
  if (flags.theta >= 0.0f) {
    config->mutable_default_gates()->set_theta(flags.theta);
    config->mutable_default_gates()->set_eta(flags.eta);
    config->mutable_default_gates()->set_alpha(flags.alpha);
  }
  config->set_input_type(FloatTypeNamed(flags.input_type));
  config->set_ttl_seconds(flags.ttl_seconds);
  request.set_session_id(flags.session_id);
  if (!flags.model.empty()) {
    request.set_model(flags.model);
    request.set_layer(flags.layer);
    request.mutable_heads()->Assign(flags.of_heads.begin(),
                                    flags.of_heads.end());
    return request;
  }
  WriteSpec(flags, config->mutable_spec());
  if (flags.weights.empty()) {
    request.set_seed(flags.seed);
    return request;
  }
  HEADWISE_ASSIGN_OR_RETURN(FileTensor weights, ReadTensorFile(flags.weights));
  if (weights.dtype == "f2") {
    return absl::InvalidArgumentError("--weights: must be float32");
  }
  request.set_weights(std::move(weights.bytes));
  return request;
}

absl::Status RunCreate(const CreateFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::CreateMemoryRequest request,
                            RequestOf(flags));
  HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(flags.memory));
  return PrintMemory(flags.memory, client->Create(request));
}

// All are of a memory that is no model's.
void AddSpecFlags(CLI::App& command, CLI::Option* model, CreateFlags& flags) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return command.add_option(name, value, text)->excludes(model);
  };
  add("--heads", flags.num_heads, "1 to 256; needed unless --model is there");
  add("--head-dim", flags.head_dim, "16 to 256, of 16s; likewise");
  add("--layers", flags.num_layers, "Matrices of a head, 1 to 4")
      ->capture_default_str();
  add("--hidden-dim", flags.hidden_dim,
      "16 to 1024, of 16s; 0: twice the head_dim");
  add("--activation", flags.activation, "silu, gelu")
      ->check(CLI::IsMember({"silu", "gelu"}))
      ->capture_default_str();
  add("--norm", flags.norm, "Of the output: none, layer, rms")
      ->check(CLI::IsMember({"none", "layer", "rms"}))
      ->capture_default_str();
  command
      .add_flag("--no-residual", flags.no_residual,
                "The key is not added to the output")
      ->excludes(model);
  add("--rule", flags.rule,
      "token: momentum and decay with each token; chunk: with each chunk")
      ->check(CLI::IsMember({"token", "chunk"}))
      ->capture_default_str();
  add("--chunk", flags.chunk_len, "Tokens, 1 to 4096")->capture_default_str();
  add("--loss-scale", flags.loss_scale, "At most 1000")->capture_default_str();
  add("--max-norm", flags.max_norm, "Of a head's weights, and of its momentum")
      ->capture_default_str();
  add("--weights", flags.weights,
      "fp32 [heads, weights] to begin with; default: drawn");
  add("--seed", flags.seed, "Of weights that are drawn");
}

}  // namespace

void AddMemoryCreateCommand(CLI::App& memory, CommandRun* run) {
  CLI::App* command =
      memory.add_subcommand("create", "Begin a memory over the workers");
  auto flags = std::make_shared<CreateFlags>();
  AddMemoryFlags(*command, flags->memory);
  CLI::Option* model = command->add_option(
      "--model", flags->model,
      "Served Titans model whose memories' spec, weights and gates it begins "
      "with");
  command->add_option("--layer", flags->layer, "Of the model, from 0")
      ->needs(model);
  command
      ->add_option("--of-heads", flags->of_heads,
                   "Of the layer: 0,2,3; default: all")
      ->delimiter(',')
      ->needs(model);
  AddSpecFlags(*command, model, *flags);
  CLI::Option* theta = command->add_option(
      "--theta", flags->theta,
      "Step size of writes that bring none; default: the model's, or all "
      "must");
  theta->check(CLI::NonNegativeNumber);
  command->add_option("--eta", flags->eta, "Decay of the momentum, likewise")
      ->needs(theta);
  command->add_option("--alpha", flags->alpha, "Forgetting, likewise")
      ->needs(theta);
  command
      ->add_option("--input-type", flags->input_type,
                   "Of keys, values and queries: fp32, fp16, bf16")
      ->check(CLI::IsMember({"fp32", "fp16", "bf16"}))
      ->capture_default_str();
  command->add_option("--session-id", flags->session_id,
                      "The attention session that it belongs to");
  command->add_option("--ttl", flags->ttl_seconds,
                      "Seconds that it may be idle; 0: 600");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunCreate(*flags); }; });
  command->footer(
      "Examples:\n  headwise memory create --server 127.0.0.1:7600 --heads 9 "
      "--head-dim 64 --theta 0.05 --eta 0.5\n  headwise memory create --server "
      "127.0.0.1:7600 --model titans --layer 1 --of-heads 0,3");
}

}  // namespace headwise
