// What each file format is parsed into, before it becomes a Model.

#ifndef HEADWISE_MODEL_FILES_MODEL_PARTS_H_
#define HEADWISE_MODEL_FILES_MODEL_PARTS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "model/hyperparameters.h"
#include "model/model.h"
#include "model/tensor.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Tensors and the tokenizer view the bytes they were parsed from.
struct ModelParts {
  Hyperparameters hyperparameters;
  std::vector<TensorView> tensors;  // GGUF's names, file order
  TokenizerData tokenizer;
  std::string chat_template;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// `files` are those that `parts` views, in order of name.
std::unique_ptr<Model> MakeModel(
    ModelParts parts, std::vector<std::unique_ptr<MappedFile>> files);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_MODEL_PARTS_H_
