#include "server/frontends/served_model.h"

namespace headwise {

std::vector<int32_t> EndTokensOf(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsEndOfGeneration(static_cast<int32_t>(id))) {
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  return ids;
}

}  // namespace headwise
