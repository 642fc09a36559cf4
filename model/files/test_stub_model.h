// A model that is nothing but its hyperparameters. For tests of what needs no
// weights; test_model_writer.h makes whole ones.

#ifndef HEADWISE_MODEL_FILES_TEST_STUB_MODEL_H_
#define HEADWISE_MODEL_FILES_TEST_STUB_MODEL_H_

#include <string>
#include <utility>
#include <vector>

#include "model/model.h"

namespace headwise {

class StubModel : public Model {
 public:
  const Hyperparameters& hyperparameters() const override { return hyper_; }
  const TensorView* FindTensor(absl::string_view name) const override {
    for (const TensorView& tensor : tensors_) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  const TokenizerData& tokenizer_data() const override { return tokenizer_; }
  const std::string& chat_template() const override { return template_; }
  int64_t file_bytes() const override { return 0; }
  const std::string& Sha256() const override { return sha256_; }
  void DropPages() const override {}
  std::vector<std::pair<std::string, std::string>> Metadata() const override {
    return {};
  }
  const std::vector<TensorView>& tensors() const override { return tensors_; }

 protected:
  Hyperparameters hyper_;
  std::vector<TensorView> tensors_;
  std::string sha256_;

 private:
  TokenizerData tokenizer_;
  std::string template_;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_STUB_MODEL_H_
