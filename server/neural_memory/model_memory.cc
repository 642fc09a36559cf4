#include "server/neural_memory/model_memory.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/backends/cpu/isa.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

absl::Status CheckHeads(absl::Span<const int64_t> heads, int64_t num_heads) {
  for (size_t i = 0; i < heads.size(); ++i) {
    if (heads[i] < 0 || heads[i] >= num_heads) {
      return absl::InvalidArgumentError(
          absl::StrCat("heads[", i, "]: ", heads[i], ", the model has 0 to ",
                       num_heads - 1));
    }
    if (std::find(heads.begin(), heads.begin() + i, heads[i]) !=
        heads.begin() + i) {
      return absl::InvalidArgumentError(
          absl::StrCat("heads[", i, "]: ", heads[i], " is there twice"));
    }
  }
  return absl::OkStatus();
}

// Row `row` of a tensor that the model was checked to have.
std::vector<float> RowOf(const Model& model, int64_t layer, const char* name,
                         int64_t row) {
  const TensorView* tensor =
      model.FindTensor(absl::StrCat("blk.", layer, ".", name));
  HEADWISE_CHECK(tensor != nullptr);
  std::vector<float> floats(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, row, absl::MakeSpan(floats));
  return floats;
}

// Of an input of zeros, by the workers' own exp: libm's depends on the machine.
MemoryGates GatesOf(const TitansHyperparameters& titans,
                    absl::Span<const float> biases, int64_t num_heads,
                    int64_t head, const Kernels& kernels) {
  const auto gate = [&](int64_t kind) {
    const float bias = biases[kind * num_heads + head];
    return titans.GateOf(kind, 1.0f / (1.0f + kernels.exp_one(-bias)));
  };
  return {gate(0), gate(1), gate(2)};
}

}  // namespace

absl::StatusOr<ModelMemory> MemoryOfModel(const Model& model, int64_t layer,
                                          absl::Span<const int64_t> heads) {
  const Hyperparameters& hyper = model.hyperparameters();
  if (!hyper.titans.has_value() || !hyper.titans->has_memory()) {
    return absl::FailedPreconditionError(
        absl::StrCat("model: \"", hyper.name, "\" has no neural memories"));
  }
  if (layer < 0 || layer >= hyper.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat(
        "layer: ", layer, ", the model has 0 to ", hyper.num_layers - 1));
  }
  HEADWISE_RETURN_IF_ERROR(CheckHeads(heads, hyper.num_heads));
  std::vector<int64_t> all(static_cast<size_t>(hyper.num_heads));
  std::iota(all.begin(), all.end(), 0);
  if (heads.empty()) heads = all;
  const std::vector<float> biases = RowOf(model, layer, "mem_gate.bias", 0);
  const Kernels& kernels = KernelsFor(IsasOfThisMachine().back());
  ModelMemory memory;
  memory.num_heads = static_cast<int64_t>(heads.size());
  memory.spec = hyper.titans->memory;
  for (const int64_t head : heads) {
    memory.gates.push_back(
        GatesOf(*hyper.titans, biases, hyper.num_heads, head, kernels));
    const std::vector<float> weights = RowOf(model, layer, "mem_init", head);
    memory.weights.append(reinterpret_cast<const char*>(weights.data()),
                          weights.size() * sizeof(float));
  }
  return memory;
}

}  // namespace headwise
