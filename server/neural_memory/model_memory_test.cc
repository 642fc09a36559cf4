#include "server/neural_memory/model_memory.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/files/test_stub_model.h"
#include "model/files/test_titans_folder.h"

namespace headwise {
namespace {

std::vector<float> RowOf(const Model& model, const std::string& name,
                         int64_t row) {
  const TensorView* tensor = model.FindTensor(name);
  std::vector<float> floats(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, row, absl::MakeSpan(floats));
  return floats;
}

TEST(ModelMemoryTest, HeadsComeInTheOrderGivenWithTheirWeightsAndGates) {
  for (const TitansVariant variant :
       {TitansVariant::kMac, TitansVariant::kMag, TitansVariant::kMal,
        TitansVariant::kLmm}) {
    SCOPED_TRACE(NameOf(variant));
    const TinyTitans titans(variant);
    const Model& model = *titans;
    const TitansHyperparameters& hyper = *model.hyperparameters().titans;
    const std::vector<int64_t> heads = {2, 0, 3};
    const auto memory = MemoryOfModel(model, 1, heads);
    ASSERT_TRUE(memory.ok()) << memory.status();
    EXPECT_TRUE(memory->spec == hyper.memory);
    EXPECT_EQ(memory->num_heads, 3);
    const size_t head_bytes = 4 * hyper.memory.num_weights();
    ASSERT_EQ(memory->weights.size(), 3 * head_bytes);
    ASSERT_EQ(memory->gates.size(), 3u);
    const std::vector<float> biases = RowOf(model, "blk.1.mem_gate.bias", 0);
    for (size_t i = 0; i < heads.size(); ++i) {
      const std::vector<float> weights =
          RowOf(model, "blk.1.mem_init", heads[i]);
      EXPECT_EQ(std::memcmp(memory->weights.data() + i * head_bytes,
                            weights.data(), head_bytes),
                0);
      const double stretch = hyper.gate_stretch;
      const auto gate = [&](int64_t kind) {
        const double z = biases[kind * 4 + heads[i]];
        return std::fmin(
            std::fmax((1 + 2 * stretch) / (1 + std::exp(-z)) - stretch, 0), 1);
      };
      EXPECT_NEAR(memory->gates[i].theta, hyper.theta_max * gate(0), 1e-6);
      EXPECT_NEAR(memory->gates[i].eta, gate(1), 1e-6);
      EXPECT_NEAR(memory->gates[i].alpha, gate(2), 1e-6);
    }
    EXPECT_EQ(MemoryOfModel(model, 0, {})->num_heads, 4);
  }
}

TEST(ModelMemoryTest, ModelsWithoutMemoriesAreRefused) {
  const TinyTitans attention(TitansVariant::kSwa);
  EXPECT_EQ(MemoryOfModel(*attention, 0, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const StubModel llama;
  EXPECT_EQ(MemoryOfModel(llama, 0, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace headwise
