// Any bytes as a GGUF file: an error or a model whose every byte can be read.

#include <cstdint>
#include <vector>

#include "model/files/gguf_model.h"
#include "model/files/test_bytes.h"

namespace {

// Reads what the parts view, so that the sanitizer sees a view that is wrong.
uint64_t Touch(const headwise::ModelParts& parts) {
  uint64_t sum = 0;
  for (const headwise::TensorView& tensor : parts.tensors) {
    std::vector<float> row(tensor.cols());
    headwise::DequantizeRow(tensor, 0, absl::MakeSpan(row));
    headwise::DequantizeRow(tensor, tensor.rows() - 1, absl::MakeSpan(row));
    sum += tensor.bytes[0] + tensor.bytes[tensor.bytes.size() - 1];
  }
  for (const absl::string_view token : parts.tokenizer.tokens) {
    for (const char byte : token) sum += static_cast<uint8_t>(byte);
  }
  for (const absl::string_view merge : parts.tokenizer.merges) {
    for (const char byte : merge) sum += static_cast<uint8_t>(byte);
  }
  return sum + headwise::ComputeRopeFrequencies(parts.hyperparameters.rope)
                   .inverse_frequencies.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const headwise::TestBytes bytes(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  const auto parts = headwise::ParseGgufModel(bytes.span());
  volatile uint64_t sink = parts.ok() ? Touch(*parts) : 0;
  static_cast<void>(sink);
  return 0;
}
