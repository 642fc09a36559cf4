#include "model/files/test_gguf_writer.h"

#include <algorithm>
#include <utility>

#include "model/files/gguf_tensor_types.h"

namespace headwise {

namespace {

template <typename T>
std::string RawArray(GgufType element_type, const std::vector<T>& values) {
  std::string raw = RawBytes(static_cast<uint32_t>(element_type));
  raw += RawBytes<uint64_t>(values.size());
  for (const T& value : values) raw += RawBytes(value);
  return raw;
}

}  // namespace

std::string RawText(absl::string_view text) {
  return RawBytes<uint64_t>(text.size()) + std::string(text);
}

void GgufWriter::AddRaw(absl::string_view key, uint32_t type,
                        std::string payload) {
  entries_.push_back({std::string(key), type, std::move(payload)});
}

void GgufWriter::AddUint32(absl::string_view key, uint32_t value) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kUint32), RawBytes(value));
}

void GgufWriter::AddFloat32(absl::string_view key, float value) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kFloat32), RawBytes(value));
}

void GgufWriter::AddBool(absl::string_view key, bool value) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kBool),
         RawBytes<uint8_t>(value ? 1 : 0));
}

void GgufWriter::AddText(absl::string_view key, absl::string_view value) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kString), RawText(value));
}

void GgufWriter::AddTextArray(absl::string_view key,
                              const std::vector<std::string>& values) {
  std::string raw = RawBytes(static_cast<uint32_t>(GgufType::kString));
  raw += RawBytes<uint64_t>(values.size());
  for (const std::string& value : values) raw += RawText(value);
  AddRaw(key, static_cast<uint32_t>(GgufType::kArray), std::move(raw));
}

void GgufWriter::AddInt32Array(absl::string_view key,
                               const std::vector<int32_t>& values) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kArray),
         RawArray(GgufType::kInt32, values));
}

void GgufWriter::AddFloat32Array(absl::string_view key,
                                 const std::vector<float>& values) {
  AddRaw(key, static_cast<uint32_t>(GgufType::kArray),
         RawArray(GgufType::kFloat32, values));
}

void GgufWriter::AddTensor(absl::string_view name,
                           const std::vector<int64_t>& shape, DType dtype,
                           std::string bytes) {
  Tensor tensor;
  tensor.name = std::string(name);
  tensor.dimensions.assign(shape.rbegin(), shape.rend());
  tensor.type = GgmlTypeOf(dtype);
  tensor.bytes = std::move(bytes);
  tensors_.push_back(std::move(tensor));
}

void GgufWriter::Remove(absl::string_view key) {
  entries_.erase(
      std::remove_if(entries_.begin(), entries_.end(),
                     [key](const Entry& entry) { return entry.key == key; }),
      entries_.end());
}

GgufWriter::Tensor* GgufWriter::FindTensor(absl::string_view name) {
  for (Tensor& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::string GgufWriter::Finish() const {
  const bool writes_alignment = alignment_ != 32;
  const auto padding = [this](size_t size) {
    return std::string((alignment_ - size % alignment_) % alignment_, '\0');
  };
  std::string file = "GGUF" + RawBytes(version_);
  file += RawBytes<uint64_t>(num_tensors_.value_or(tensors_.size()));
  file += RawBytes<uint64_t>(
      num_keys_.value_or(entries_.size() + (writes_alignment ? 1 : 0)));
  for (const Entry& entry : entries_) {
    file += RawText(entry.key) + RawBytes(entry.type) + entry.payload;
  }
  if (writes_alignment) {
    file += RawText("general.alignment") + RawBytes<uint32_t>(4) +
            RawBytes(static_cast<uint32_t>(alignment_));
  }
  std::string data;
  for (const Tensor& tensor : tensors_) {
    file += RawText(tensor.name);
    file += RawBytes(static_cast<uint32_t>(tensor.dimensions.size()));
    for (const uint64_t dimension : tensor.dimensions) {
      file += RawBytes(dimension);
    }
    file += RawBytes(tensor.type);
    file += RawBytes<uint64_t>(tensor.offset.value_or(data.size()));
    data += tensor.bytes;
    data += padding(data.size());
  }
  if (!tensors_.empty()) file += padding(file.size());
  return file + data;
}

}  // namespace headwise
