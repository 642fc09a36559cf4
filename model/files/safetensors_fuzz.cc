// Any bytes as the files of a Hugging Face folder, one after the other, each
// with its size in front as four bytes: config.json, tokenizer.json,
// tokenizer_config.json, then model.safetensors to the end.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "model/files/byte_reader.h"
#include "model/files/safetensors_model.h"
#include "model/files/test_bytes.h"

namespace {

std::string TakeFile(headwise::ByteReader& reader) {
  uint32_t size = 0;
  absl::Span<const uint8_t> bytes;
  if (!reader.Read(&size)) return "";
  const uint64_t fit = std::min<uint64_t>(size, reader.remaining());
  if (!reader.ReadSpan(fit, &bytes)) return "";
  return std::string(bytes.begin(), bytes.end());
}

uint64_t Touch(const headwise::ModelParts& parts) {
  uint64_t sum = parts.chat_template.size();
  for (const headwise::TensorView& tensor : parts.tensors) {
    std::vector<float> row(tensor.cols());
    headwise::DequantizeRow(tensor, tensor.rows() - 1, absl::MakeSpan(row));
  }
  for (const absl::string_view token : parts.tokenizer.tokens) {
    for (const char byte : token) sum += static_cast<uint8_t>(byte);
  }
  for (const absl::string_view merge : parts.tokenizer.merges) {
    for (const char byte : merge) sum += static_cast<uint8_t>(byte);
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  headwise::ByteReader reader(absl::MakeConstSpan(data, size));
  const headwise::TestBytes config(TakeFile(reader));
  const headwise::TestBytes tokenizer(TakeFile(reader));
  const headwise::TestBytes tokenizer_config(TakeFile(reader));
  const headwise::TestBytes shard(
      absl::string_view(reinterpret_cast<const char*>(data + reader.offset()),
                        reader.remaining()));
  headwise::SafetensorsFiles files;
  files.config_json = config.span();
  files.tokenizer_json = tokenizer.span();
  files.tokenizer_config_json = tokenizer_config.span();
  files.shards.push_back({"model.safetensors", shard.span()});
  const auto parts = headwise::ParseSafetensorsModel(files);
  // The index is any JSON: the tokenizer's bytes will do.
  volatile bool is_index =
      headwise::ParseSafetensorsIndex(tokenizer.span()).ok();
  volatile uint64_t sink = parts.ok() ? Touch(*parts) : 0;
  static_cast<void>(is_index);
  static_cast<void>(sink);
  return 0;
}
