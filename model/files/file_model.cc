#include <algorithm>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/sha256.h"
#include "model/files/model_parts.h"

namespace headwise {

namespace {

constexpr size_t kHashPieceBytes = 64 << 20;  // between two calls of progress

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
    ReadSha256([](double) { return true; });
    absl::MutexLock lock(&sha256_mutex_);
    return sha256_;
  }
  bool ReadSha256(const std::function<bool(double)>& progress) const override {
    absl::MutexLock lock(&sha256_mutex_);
    if (sha256_.empty()) sha256_ = ComputeSha256(progress);
    return !sha256_.empty();
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
  // Empty if `progress` said no.
  std::string ComputeSha256(const std::function<bool(double)>& progress) const {
    headwise::Sha256 whole;
    int64_t done = 0;
    for (const auto& file : files_) {
      headwise::Sha256 each;
      absl::Span<const uint8_t> left = file->bytes();
      while (!left.empty()) {
        const auto piece = left.first(std::min(left.size(), kHashPieceBytes));
        each.Update(piece);
        left.remove_prefix(piece.size());
        done += static_cast<int64_t>(piece.size());
        if (!progress(static_cast<double>(done) /
                      static_cast<double>(file_bytes_))) {
          return "";
        }
      }
      const Sha256Digest digest = each.Finish();
      if (files_.size() == 1) return Sha256Hex(digest);
      whole.Update(digest);
    }
    return Sha256Hex(whole.Finish());
  }

  const ModelParts parts_;
  const std::vector<std::unique_ptr<MappedFile>> files_;  // order of name
  absl::flat_hash_map<absl::string_view, size_t> tensor_of_name_;
  int64_t file_bytes_ = 0;
  mutable absl::Mutex sha256_mutex_;
  // Written once.
  mutable std::string sha256_ ABSL_GUARDED_BY(sha256_mutex_);
};

}  // namespace

std::unique_ptr<Model> MakeModel(
    ModelParts parts, std::vector<std::unique_ptr<MappedFile>> files) {
  return std::make_unique<FileModel>(std::move(parts), std::move(files));
}

}  // namespace headwise
