// Tiny titans models as folders, for tests.

#ifndef HEADWISE_MODEL_FILES_TEST_TITANS_FOLDER_H_
#define HEADWISE_MODEL_FILES_TEST_TITANS_FOLDER_H_

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/files/test_titans.h"
#include "model/model.h"

namespace headwise {

// A model's folder for as long as the test runs.
class TinyTitans {
 public:
  explicit TinyTitans(const TinyModelOptions& options) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            absl::StrCat("headwise_titans_", getpid(), "_", count++);
    std::filesystem::create_directory(path_);
    EXPECT_TRUE(WriteTinyFolder(options, 1, path_).ok());
    absl::StatusOr<std::unique_ptr<Model>> model = Model::Open(path_);
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  explicit TinyTitans(TitansVariant variant)
      : TinyTitans(TinyTitansOptions(variant)) {}
  ~TinyTitans() { std::filesystem::remove_all(path_); }

  const Model& operator*() const { return *model_; }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<Model> model_;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_TITANS_FOLDER_H_
