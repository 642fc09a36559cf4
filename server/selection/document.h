// Documents of a corpus and what is told of them.

#ifndef HEADWISE_SERVER_SELECTION_DOCUMENT_H_
#define HEADWISE_SERVER_SELECTION_DOCUMENT_H_

#include <cstdint>
#include <string>

namespace headwise {

// Why a document is not ranked, or what is odd about it. A row has every bit
// that applies; the names are in flag_names.h.
enum DocumentFlag : uint32_t {
  // Not scored: n_tokens is 0.
  kEmptyText = 1u << 0,     // no token but those that the tokenizer adds
  kInvalidUtf8 = 1u << 1,   // of id, domain or text
  kBrokenRecord = 1u << 2,  // a line that is no JSON object, or cut short
  kMissingText = 1u << 3,   // no field of that name, or not a string
  kTooLarge = 1u << 4,      // more bytes than the job allows
  // Not one of the job's domains, or longer than a domain may be.
  kUnknownDomain = 1u << 5,
  kNotFinite = 1u << 6,  // the model gave no finite loss
  // Scored, but out of the ranking.
  kDuplicateId = 1u << 8,  // of an earlier row of the job's output
  kTooShort = 1u << 9,     // fewer tokens than the job ranks
  kLowLoss = 1u << 10,     // loss_base too small for a ratio
  kRepetitive = 1u << 11,  // more of it repeats itself than the job ranks
  // Scored and ranked.
  kTruncated = 1u << 16,  // the tokens after the job's limit were left out
  kMadeUpId = 1u << 17,   // it had none; "<file>:<byte>" stands for it
  // The id was no string or integer, or longer than an id may be; as kMadeUpId.
  kInvalidIdType = 1u << 18
};

// Of a JSON record; a row must stay a short line.
inline constexpr size_t kMaxDocumentIdBytes = 4 << 10;
inline constexpr size_t kMaxDomainBytes = 256;

inline constexpr uint32_t kNotScoredFlags = 0xffu;
inline constexpr uint32_t kNotRankedFlags = 0xffffu;  // those included

struct Document {
  std::string id;
  std::string domain;  // empty: the job's only one
  std::string text;    // UTF-8 unless kInvalidUtf8
  uint32_t flags = 0;  // DocumentFlag
};

// Negative log-likelihoods, natural logarithm, summed over the tokens that
// count: the model as it is, and with its retrieval heads masked
// (AttentionInfluence, 2025).
struct DocumentLoss {
  double base = 0.0;
  double masked = 0.0;
  int64_t num_tokens = 0;  // that count
  // Mean probability that a copy of what stands before gives the tokens that
  // count (copy_model.h), 0 to 1.
  double repetition = 0.0;
  bool is_truncated = false;
};

// What a job writes of one document, in the order of its input.
struct ScoreRow {
  std::string doc_id;
  std::string domain;
  DocumentLoss loss;
  uint32_t flags = 0;

  bool is_scored() const { return loss.num_tokens > 0; }
  bool is_ranked() const { return (flags & kNotRankedFlags) == 0; }
  // Nats for a token. Require is_scored().
  double loss_base() const {
    return loss.base / static_cast<double>(loss.num_tokens);
  }
  double loss_masked() const {
    return loss.masked / static_cast<double>(loss.num_tokens);
  }
  // (masked - base) / base: greater where the text needs the masked heads more.
  double score() const { return (loss.masked - loss.base) / loss.base; }
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DOCUMENT_H_
