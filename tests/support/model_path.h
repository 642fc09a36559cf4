// The model of tests that need a real one.

#ifndef HEADWISE_TESTS_SUPPORT_MODEL_PATH_H_
#define HEADWISE_TESTS_SUPPORT_MODEL_PATH_H_

#include <cstdlib>
#include <string>

namespace headwise {

inline std::string ModelPath() {
  const char* path = std::getenv("HEADWISE_MODEL");
  if (path != nullptr) return path;
  return std::string(HEADWISE_SOURCE_DIR) +
         "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_MODEL_PATH_H_
