#include "lab/torch_model/torch_model.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "worker/executor/reference_forward.h"

namespace headwise {
namespace {

std::unique_ptr<Model> OpenTiny(const TinyModelOptions& options) {
  const std::string path =
      testing::TempDir() + "torch_model_" + std::to_string(getpid()) + ".gguf";
  EXPECT_TRUE(WriteFile(path, WriteTinyGguf(options)).ok());
  auto model = Model::Open(path);
  std::filesystem::remove(path);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

const std::vector<int32_t> kTokens = {5, 300, 17, 17, 42, 0, 255, 9, 101, 8};

torch::Tensor LogitsOf(const Model& opened) {
  const torch::NoGradGuard no_gradient;
  const TorchModel model(opened);
  const auto tokens = static_cast<int64_t>(kTokens.size());
  const torch::Tensor mask = VisibilityMask(tokens, 0, tokens);
  const TorchRotation rotation = model.Rotation(tokens);
  torch::Tensor states = model.Embed(kTokens);
  for (int64_t i = 0; i < model.hyperparameters().num_layers; ++i) {
    const TorchHeads heads = model.Project(i, states, rotation);
    states = model.Finish(i, states, model.Attend(heads, mask));
  }
  return model.Logits(model.FinalNorm(states));
}

void ExpectEqualsReference(const TinyModelOptions& options) {
  const std::unique_ptr<Model> model = OpenTiny(options);
  const torch::Tensor logits = LogitsOf(*model);
  const auto expected = ReferenceForward(*model, kTokens);
  for (size_t i = 0; i < expected.size(); ++i) {
    const torch::Tensor row = torch::tensor(expected[i], torch::kFloat64);
    const auto difference = (logits[static_cast<int64_t>(i)] - row).abs();
    EXPECT_LT(difference.max().item<double>(), 1e-4) << "token " << i;
  }
}

TEST(TorchModel, LogitsOfEveryArchitectureEqualTheReference) {
  for (const Architecture architecture :
       {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3}) {
    SCOPED_TRACE(static_cast<int>(architecture));
    ExpectEqualsReference({.architecture = architecture});
  }
}

TEST(TorchModel, LogitsOfQuantizedUntiedAndScaledModelsEqualTheReference) {
  TinyModelOptions options;
  options.dtype = DType::kQ4_1;
  options.tied_embeddings = false;
  options.num_kv_heads = 1;
  options.rope_scaling = {.kind = RopeScalingKind::kYarn,
                          .factor = 4.0,
                          .original_context_len = 128};
  ExpectEqualsReference(options);
}

TEST(VisibilityMask, IsSinksAndWindowUpToTheQuery) {
  for (int64_t num_sinks = 0; num_sinks < 4; ++num_sinks) {
    for (int64_t window = 1; window < 5; ++window) {
      const torch::Tensor mask = VisibilityMask(8, num_sinks, window);
      for (int64_t i = 0; i < 8; ++i) {
        for (int64_t j = 0; j < 8; ++j) {
          const bool sees = j <= i && (j < num_sinks || i - j < window);
          EXPECT_EQ(mask[i][j].item<float>() == 0.0f, sees)
              << i << " " << j << " " << num_sinks << " " << window;
        }
      }
    }
  }
}

}  // namespace
}  // namespace headwise
