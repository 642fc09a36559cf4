#include "absl/base/call_once.h"
#include "absl/container/flat_hash_map.h"
#include "base/sha256.h"
#include "model/files/model_parts.h"

namespace headwise {

namespace {

class FileModel final : public Model {
 public:
  FileModel(ModelParts parts, std::vector<std::unique_ptr<MappedFile>> files)
      : parts_(std::move(parts)), files_(std::move(files)) {
    tensor_of_name_.reserve(parts_.tensors.size());
    for (size_t i = 0; i < parts_.tensors.size(); ++i) {
      tensor_of_name_.emplace(parts_.tensors[i].name, i);
    }
    for (const auto& file : files_) file_bytes_ += file->bytes().size();
  }

  const Hyperparameters& hyperparameters() const override {
    return parts_.hyperparameters;
  }
  const TensorView* FindTensor(absl::string_view name) const override {
    const auto it = tensor_of_name_.find(name);
    return it == tensor_of_name_.end() ? nullptr : &parts_.tensors[it->second];
  }
  const TokenizerData& tokenizer_data() const override {
    return parts_.tokenizer;
  }
  const std::string& chat_template() const override {
    return parts_.chat_template;
  }
  int64_t file_bytes() const override { return file_bytes_; }
  const std::string& Sha256() const override {
    absl::call_once(sha256_once_, [this] { sha256_ = ComputeSha256(); });
    return sha256_;
  }
  void DropPages() const override {
    for (const auto& file : files_) file->DropPages();
  }
  std::vector<std::pair<std::string, std::string>> Metadata() const override {
    return parts_.metadata;
  }
  const std::vector<TensorView>& tensors() const override {
    return parts_.tensors;
  }

 private:
  std::string ComputeSha256() const {
    if (files_.size() == 1) return Sha256Hex(Sha256Of(files_[0]->bytes()));
    headwise::Sha256 whole;
    for (const auto& file : files_) whole.Update(Sha256Of(file->bytes()));
    return Sha256Hex(whole.Finish());
  }

  const ModelParts parts_;
  const std::vector<std::unique_ptr<MappedFile>> files_;  // order of name
  absl::flat_hash_map<absl::string_view, size_t> tensor_of_name_;
  int64_t file_bytes_ = 0;
  mutable absl::once_flag sha256_once_;
  mutable std::string sha256_;  // written once, under sha256_once_
};

}  // namespace

std::unique_ptr<Model> MakeModel(
    ModelParts parts, std::vector<std::unique_ptr<MappedFile>> files) {
  return std::make_unique<FileModel>(std::move(parts), std::move(files));
}

}  // namespace headwise
