// Tiny but whole models as files: the same weights in either format. Everything
// is a pure function of the options. For tests, fuzz corpora and benches.

#ifndef HEADWISE_MODEL_FILES_TEST_MODEL_WRITER_H_
#define HEADWISE_MODEL_FILES_TEST_MODEL_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/files/test_gguf_writer.h"
#include "model/files/test_model_options.h"
#include "model/files/test_model_weights.h"

namespace headwise {

// The file's bytes. llama files have q and k rows interleaved, as converters
// write them; qwen files do not.
std::string WriteTinyGguf(const TinyModelOptions& options);
// The same before it is laid out, for tests that change a part.
GgufWriter MakeTinyGguf(const TinyModelOptions& options);

// The files of a Hugging Face folder. Matrices keep a float dtype; quantized
// ones are written as F32 with the values that they stand for.
struct TinySafetensors {
  std::string model_safetensors;
  std::string config_json;
  std::string tokenizer_json;
  std::string tokenizer_config_json;
};
TinySafetensors WriteTinySafetensors(const TinyModelOptions& options);

// A container of the tensors under the names they have, in this order.
std::string WriteSafetensors(const std::vector<TinyTensor>& tensors);
// The header's JSON with its length in front, then the buffer.
std::string WriteSafetensors(const std::string& header,
                             const std::string& buffer);
// As in the model's file: float dtypes, Hugging Face's names.
std::vector<TinyTensor> MakeTinyHfTensors(const TinyModelOptions& options);

// Writes the files into `folder`, which must exist; with more than one shard,
// also the index.
absl::Status WriteTinyFolder(const TinyModelOptions& options, int num_shards,
                             const std::string& folder);
absl::Status WriteFile(const std::string& path, const std::string& bytes);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_MODEL_WRITER_H_
