// A model as it lies on disk: hyperparameters, tensors, tokenizer, template.

#ifndef HEADWISE_MODEL_MODEL_H_
#define HEADWISE_MODEL_MODEL_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/hyperparameters.h"
#include "model/tensor.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Immutable after Open, hence safe to share between threads.
//
// Tensors carry GGUF's names whatever the file format:
//   token_embd.weight        [vocab_size, model_dim]
//   output.weight            [vocab_size, model_dim]   absent if tied
//   output_norm.weight       [model_dim]
//   blk.N.attn_norm.weight   [model_dim]
//   blk.N.attn_q.weight      [num_heads * head_dim, model_dim]
//   blk.N.attn_k.weight      [num_kv_heads * head_dim, model_dim]
//   blk.N.attn_v.weight      [num_kv_heads * head_dim, model_dim]
//   blk.N.attn_output.weight [model_dim, num_heads * head_dim]
//   blk.N.attn_{q,k,v}.bias  qwen2; same rows as the weight
//   blk.N.attn_{q,k}_norm.weight [head_dim]  qwen3
//   blk.N.ffn_norm.weight    [model_dim]
//   blk.N.ffn_gate.weight    [ffn_dim, model_dim]
//   blk.N.ffn_up.weight      [ffn_dim, model_dim]
//   blk.N.ffn_down.weight    [model_dim, ffn_dim]
// and those of titans models, which docs/titans-models.md lists.
class Model {
 public:
  // Opens a .gguf file, a .safetensors file, a model.safetensors.index.json, or
  // a folder that holds one of the last two beside config.json and
  // tokenizer.json. All the tensors above are present with these shapes, and
  // every size is checked against the file, before this succeeds.
  //
  // NotFound: no such path. InvalidArgument: the file contradicts itself or is
  // truncated. Unimplemented: an architecture, quantization or tokenizer that
  // we do not have. The message names the key or tensor, its value and the
  // limit.
  static absl::StatusOr<std::unique_ptr<Model>> Open(const std::string& path);

  virtual ~Model() = default;

  virtual const Hyperparameters& hyperparameters() const = 0;
  // nullptr if the model has no such tensor. O(1).
  virtual const TensorView* FindTensor(absl::string_view name) const = 0;
  virtual const TokenizerData& tokenizer_data() const = 0;
  // Jinja source, or empty if the model has none.
  virtual const std::string& chat_template() const = 0;
  // Bytes of the model's files.
  virtual int64_t file_bytes() const = 0;
  // SHA-256 (hexadecimal) of the GGUF file; of a safetensors model, of the
  // digests of its files in order of name. Reads everything: slow, and computed
  // by the first call. Thread-safe.
  virtual const std::string& Sha256() const = 0;
  // The same for who may have to stop: `progress` is told values from 0 to 1
  // while files are read, and must not ask for the digest itself. Once it
  // returns false, so does this, and nothing is kept.
  virtual bool ReadSha256(const std::function<bool(double)>& progress) const {
    Sha256();
    return progress(1.0);
  }
  // Lets the kernel drop the mapped pages; call it after packing the weights.
  virtual void DropPages() const = 0;
  // Key and value pairs of the file as text, for `headwise inspect`; long
  // arrays are abbreviated.
  virtual std::vector<std::pair<std::string, std::string>> Metadata() const = 0;
  // In file order.
  virtual const std::vector<TensorView>& tensors() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_MODEL_H_
