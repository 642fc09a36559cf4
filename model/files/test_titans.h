// Tiny titans models for tests of any folder.

#ifndef HEADWISE_MODEL_FILES_TEST_TITANS_H_
#define HEADWISE_MODEL_FILES_TEST_TITANS_H_

#include "model/files/test_model_options.h"

namespace headwise {

inline constexpr TitansVariant kTitansVariants[] = {
    TitansVariant::kMac, TitansVariant::kMag, TitansVariant::kMal,
    TitansVariant::kLmm, TitansVariant::kSwa};

inline const char* NameOf(TitansVariant variant) {
  constexpr const char* kNames[] = {"mac", "mag", "mal", "lmm", "swa"};
  return kNames[static_cast<int>(variant)];
}

// Two layers, four heads of 16, a window of 24 (mac: 16) and chunks of 16.
inline TinyModelOptions TinyTitansOptions(TitansVariant variant) {
  TinyModelOptions options;
  options.architecture = Architecture::kTitans;
  options.num_kv_heads = options.num_heads;
  options.max_context_len = 1 << 20;
  TitansHyperparameters& titans = options.titans.emplace();
  titans.variant = variant;
  titans.window = variant == TitansVariant::kMac ? 16 : 24;
  titans.num_persistent = 5;
  titans.conv_kernel = variant == TitansVariant::kMac ? 1 : 4;
  titans.gate_stretch = 0.125f;
  // So that a chunk of one token again and again does not blow a memory up.
  titans.theta_max = 0.03125f;
  titans.memory.head_dim = options.head_dim;
  titans.memory.hidden_dim = 32;
  titans.memory.chunk_len = 16;
  titans.memory.max_norm = 1e3f;
  return options;
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_TITANS_H_
