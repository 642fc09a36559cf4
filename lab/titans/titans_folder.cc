#include "lab/titans/titans_folder.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "lab/titans/titans_task.h"
#include "model/files/hf_tensor_names.h"
#include "model/model.h"
#include "model/tokenizer/byte_alphabet.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

// Little-endian, as the machines are that this is built for.
std::string SafetensorsOf(const TitansWeights::Named& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string buffer;
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor flat = tensor.detach().to(torch::kFloat32).contiguous();
    const size_t begin = buffer.size();
    buffer.append(reinterpret_cast<const char*>(flat.data_ptr<float>()),
                  static_cast<size_t>(flat.numel()) * sizeof(float));
    header[name] = {{"dtype", "F32"},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {begin, buffer.size()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // aligns the buffer
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) +
         text + buffer;
}

absl::Status CopyTensor(const Model& model, const std::string& name,
                        torch::Tensor into) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string gguf_name, GgufNameOf(name));
  const TensorView* view = model.FindTensor(gguf_name);
  // The model was opened: it has every tensor of its shape.
  HEADWISE_CHECK(view != nullptr && view->shape == into.sizes().vec());
  if (view->dtype != DType::kF32) {
    return absl::UnimplementedError(absl::StrCat(
        name, ": ", InfoOf(view->dtype).name, "; the lab reads its own F32"));
  }
  const torch::NoGradGuard no_gradient;
  std::memcpy(into.data_ptr<float>(), view->bytes.data(), view->bytes.size());
  return absl::OkStatus();
}

}  // namespace

Json TitansTokenizerJson() {
  Json vocab = Json::object();
  for (int64_t byte = 0; byte < kFirstTitansKey; ++byte) {
    vocab[std::string(ByteToAlphabet(static_cast<uint8_t>(byte)))] = byte;
  }
  Json added = Json::array();
  const auto add = [&](int64_t id, const std::string& text, bool is_special) {
    added.push_back({{"id", id},
                     {"content", text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_special}});
  };
  for (int64_t i = 0; i < kNumTitansKeys; ++i) {
    add(kFirstTitansKey + i, absl::StrCat("<k", i, ">"), false);
  }
  for (int64_t i = 0; i < kNumTitansValues; ++i) {
    add(kFirstTitansValue + i, absl::StrCat("<v", i, ">"), false);
  }
  add(kTitansEnd, "<end>", true);
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"pre_tokenizer",
           {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"model",
           {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path, ": can't be written"));
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": can't be read"));
  return text.str();
}

absl::Status WriteTitansFolder(const std::string& folder,
                               const TitansWeights& weights) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  HEADWISE_RETURN_IF_ERROR(
      WriteTextFile(folder + "/config.json",
                    TitansConfigJson(weights.hyper()).dump(2) + "\n"));
  HEADWISE_RETURN_IF_ERROR(WriteTextFile(folder + "/tokenizer.json",
                                         TitansTokenizerJson().dump() + "\n"));
  return WriteTextFile(folder + "/model.safetensors",
                       SafetensorsOf(weights.named()));
}

absl::StatusOr<std::unique_ptr<TitansWeights>> ReadTitansFolder(
    const std::string& folder) {
  HEADWISE_ASSIGN_OR_RETURN(const auto model, Model::Open(folder));
  const Hyperparameters& hyper = model->hyperparameters();
  if (!hyper.titans || hyper.tied_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": no Titans model of the lab"));
  }
  auto weights = std::make_unique<TitansWeights>(hyper);
  for (const auto& [name, tensor] : weights->named()) {
    HEADWISE_RETURN_IF_ERROR(CopyTensor(*model, name, tensor));
  }
  return weights;
}

}  // namespace headwise
