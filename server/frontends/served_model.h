// What the frontends know of the model that is served.

#ifndef HEADWISE_SERVER_FRONTENDS_SERVED_MODEL_H_
#define HEADWISE_SERVER_FRONTENDS_SERVED_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/chat_template/chat_template.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"
#include "server/placement/planner.h"

namespace headwise {

// Immutable. What it points to must outlive it.
struct ServedModel {
  std::string name;  // what requests call it
  const Model* model = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  std::string kv_type;                          // fp32, fp16, bf16, int8
  ModelShape shape;                             // for plans of a placement
  std::vector<int32_t> end_tokens;  // that end a generation, ascending
};

// All ids that the tokenizer calls an end of generation. O(vocab_size).
std::vector<int32_t> EndTokensOf(const Tokenizer& tokenizer);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SERVED_MODEL_H_
