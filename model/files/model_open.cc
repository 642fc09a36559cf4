// From a path to the files of a model.

#include <sys/stat.h>

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/mapped_file.h"
#include "base/status_macros.h"
#include "model/files/gguf_model.h"
#include "model/files/model_parts.h"
#include "model/files/safetensors_model.h"
#include "model/model.h"

namespace headwise {

namespace {

using FileMap = std::map<std::string, std::unique_ptr<MappedFile>>;

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::Status WithPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

std::unique_ptr<Model> Assemble(ModelParts parts, FileMap files) {
  std::vector<std::unique_ptr<MappedFile>> in_order;
  for (auto& [name, file] : files) in_order.push_back(std::move(file));
  return MakeModel(std::move(parts), std::move(in_order));
}

absl::StatusOr<std::unique_ptr<Model>> OpenGguf(const std::string& path) {
  FileMap files;
  HEADWISE_ASSIGN_OR_RETURN(files[path], MappedFile::Open(path));
  absl::StatusOr<ModelParts> parts = ParseGgufModel(files[path]->bytes());
  if (!parts.ok()) return WithPath(path, parts.status());
  return Assemble(*std::move(parts), std::move(files));
}

// Maps files of one folder and keeps them until the model takes them.
class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}

  absl::StatusOr<absl::Span<const uint8_t>> Map(const std::string& name) {
    HEADWISE_ASSIGN_OR_RETURN(files_[name],
                              MappedFile::Open(absl::StrCat(path_, "/", name)));
    return files_[name]->bytes();
  }
  // Empty if there is no such file.
  absl::StatusOr<absl::Span<const uint8_t>> MapOptional(
      const std::string& name) {
    if (!Exists(absl::StrCat(path_, "/", name))) {
      return absl::Span<const uint8_t>();
    }
    return Map(name);
  }
  FileMap TakeFiles() { return std::move(files_); }

 private:
  const std::string path_;
  FileMap files_;
};

// Shards in order of name.
absl::Status MapShards(const std::string& name, Folder& folder,
                       SafetensorsFiles& files) {
  std::set<std::string> shard_names = {name};
  if (absl::EndsWith(name, ".json")) {
    HEADWISE_ASSIGN_OR_RETURN(const auto index, folder.Map(name));
    HEADWISE_ASSIGN_OR_RETURN(files.shard_of_tensor,
                              ParseSafetensorsIndex(index));
    shard_names.clear();
    for (const auto& [tensor, shard] : files.shard_of_tensor) {
      shard_names.insert(shard);
    }
  }
  for (const std::string& shard_name : shard_names) {
    HEADWISE_ASSIGN_OR_RETURN(const auto bytes, folder.Map(shard_name));
    files.shards.push_back({shard_name, bytes});
  }
  return absl::OkStatus();
}

absl::Status MapJson(Folder& folder, SafetensorsFiles& files) {
  HEADWISE_ASSIGN_OR_RETURN(files.config_json, folder.Map("config.json"));
  HEADWISE_ASSIGN_OR_RETURN(files.tokenizer_json, folder.Map("tokenizer.json"));
  HEADWISE_ASSIGN_OR_RETURN(files.tokenizer_config_json,
                            folder.MapOptional("tokenizer_config.json"));
  HEADWISE_ASSIGN_OR_RETURN(files.generation_config_json,
                            folder.MapOptional("generation_config.json"));
  HEADWISE_ASSIGN_OR_RETURN(files.chat_template_jinja,
                            folder.MapOptional("chat_template.jinja"));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> OpenSafetensors(
    const std::string& folder_path, const std::string& name) {
  Folder folder(folder_path);
  SafetensorsFiles files;
  HEADWISE_RETURN_IF_ERROR(MapShards(name, folder, files));
  HEADWISE_RETURN_IF_ERROR(MapJson(folder, files));
  absl::StatusOr<ModelParts> parts = ParseSafetensorsModel(files);
  if (!parts.ok()) return WithPath(folder_path, parts.status());
  return Assemble(*std::move(parts), folder.TakeFiles());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Open(const std::string& path) {
  if (IsFolder(path)) {
    for (const char* name : {kIndexName, kSingleName}) {
      if (Exists(absl::StrCat(path, "/", name))) {
        return OpenSafetensors(path, name);
      }
    }
    return absl::NotFoundError(absl::StrCat(path, " holds neither ", kIndexName,
                                            " nor ", kSingleName));
  }
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name =
      slash == std::string::npos ? path : path.substr(slash + 1);
  if (absl::EndsWith(name, ".safetensors") ||
      absl::EndsWith(name, ".safetensors.index.json")) {
    return OpenSafetensors(folder, name);
  }
  return OpenGguf(path);
}

}  // namespace headwise
