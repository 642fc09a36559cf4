// A tokenizer.json that was made from a SentencePiece model, turned back.

#ifndef HEADWISE_MODEL_FILES_HF_SENTENCE_PIECE_H_
#define HEADWISE_MODEL_FILES_HF_SENTENCE_PIECE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "model/files/hf_vocabulary.h"

namespace headwise {

// The converter writes, for each piece from the best score on, every split of
// it into two pieces as a merge. SentencePiece joins the neighbours whose union
// has the best score, a merge list those whose pair comes first: the same, if
// and only if (a) the merges of one piece stand together and (b) none is left
// out. Then score = -(rank of the piece's first merge) gives SentencePiece's
// result; pieces that nothing merges into get a score below all those.
//
// Returns one score per token. Unimplemented, naming the piece, if (a) or (b)
// does not hold. Where one piece can be joined at two places that overlap
// (runs of one letter), the list prefers a split, SentencePiece the left one;
// Hugging Face's own conversion has the same difference.
absl::StatusOr<std::vector<float>> ScoresFromMerges(
    const HfVocabulary& vocabulary);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_SENTENCE_PIECE_H_
