// Tokens that end a model's turn, known by their text.

#ifndef HEADWISE_MODEL_FILES_END_OF_TURN_H_
#define HEADWISE_MODEL_FILES_END_OF_TURN_H_

#include <cstdint>
#include <vector>

#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Adds to `data.end_of_turn_ids` every token whose text published models use to
// end a turn or a document ("<|im_end|>", "<|eot_id|>", ...), then sorts, drops
// repetitions and eos_id. Such a text is no word of any language, so the
// token's type does not matter.
void FindEndOfTurnTokens(TokenizerData& data);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_END_OF_TURN_H_
