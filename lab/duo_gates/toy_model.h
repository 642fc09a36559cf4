// Tiny models of which one unit alone matters. For tests.

#ifndef HEADWISE_LAB_DUO_GATES_TOY_MODEL_H_
#define HEADWISE_LAB_DUO_GATES_TOY_MODEL_H_

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "lab/duo_gates/gate_samples.h"
#include "model/files/test_model_writer.h"
#include "model/model.h"
#include "server/calibration/draws.h"

namespace headwise {

inline TinyModelOptions ToyOptions() {
  return {.num_layers = 3, .num_heads = 4, .num_kv_heads = 2};
}

inline std::unique_ptr<Model> OpenWritten(GgufWriter writer) {
  const std::string path =
      testing::TempDir() + "toy_" + std::to_string(getpid()) + ".gguf";
  EXPECT_TRUE(WriteFile(path, writer.Finish()).ok());
  auto model = Model::Open(path);
  std::filesystem::remove(path);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// As drawn: every unit does something.
inline std::unique_ptr<Model> OpenToy() {
  return OpenWritten(MakeTinyGguf(ToyOptions()));
}

// What all units but one attend to goes nowhere: their columns of the output
// matrix are 0. Those of (layer, kv_head) are `gain` times as large.
inline std::unique_ptr<Model> OpenToyWithUnit(int64_t layer, int64_t kv_head,
                                              float gain) {
  const TinyModelOptions options = ToyOptions();
  GgufWriter writer = MakeTinyGguf(options);
  const int64_t unit_width =
      options.num_heads / options.num_kv_heads * options.head_dim;
  const int64_t width = options.num_heads * options.head_dim;
  for (int64_t i = 0; i < options.num_layers; ++i) {
    std::string& bytes =
        writer.FindTensor("blk." + std::to_string(i) + ".attn_output.weight")
            ->bytes;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    for (size_t at = 0; at < values.size(); ++at) {
      const int64_t unit = static_cast<int64_t>(at) % width / unit_width;
      values[at] *= i == layer && unit == kv_head ? gain : 0.0f;
    }
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  return OpenWritten(std::move(writer));
}

// `num_tokens` random tokens, the last quarter labelled.
inline GateSample RandomSample(int64_t num_tokens, uint64_t stream) {
  Draws draws(/*seed=*/7, stream);
  GateSample sample;
  for (int64_t i = 0; i < num_tokens; ++i) {
    sample.tokens.push_back(
        static_cast<int32_t>(draws.Below(ToyOptions().vocab_size)));
  }
  sample.first_labelled = num_tokens - num_tokens / 4;
  return sample;
}

}  // namespace headwise

#endif  // HEADWISE_LAB_DUO_GATES_TOY_MODEL_H_
