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
// One exception to (b): converters of 2023 took the best score, which is 0, for
// "no score" and left the first piece's merges out (seen in OpenLLaMA's file).
// SentencePiece does join it and the model was trained so: it gets the best
// score here, where Hugging Face's fast tokenizer differs from its slow one.
//
// Returns one score per token. Unimplemented, naming the piece, if (a) or (b)
// does not hold. Where one piece can be joined at two places that overlap
// (runs of one letter), the list prefers a split, SentencePiece the left one;
// Hugging Face's own conversion has the same difference.
absl::StatusOr<std::vector<float>> ScoresFromMerges(
    const HfVocabulary& vocabulary);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_SENTENCE_PIECE_H_
