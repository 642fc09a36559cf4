// Reads the documents of one shard.

#ifndef HEADWISE_SERVER_SELECTION_DOCUMENT_READER_H_
#define HEADWISE_SERVER_SELECTION_DOCUMENT_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/byte_reader.h"
#include "server/selection/decompressor.h"
#include "server/selection/document.h"
#include "server/selection/input_root.h"
#include "server/selection/input_shard.h"
#include "server/selection/line_reader.h"
#include "server/selection/piece_reader.h"

namespace headwise {

// Every line that is not blank and every text file is one document; what can't
// be read as one has flags that say why:
//
//   kBrokenRecord  a line that is no JSON object; and once, where a compressed
//                  file breaks off or can't be unpacked further
//   kTooLarge      a line or text file above max_document_bytes; never held in
//                  memory
//   kInvalidUtf8   bytes, or \u escapes of half a surrogate pair, in id, domain
//                  or text; id and domain then have U+FFFD there
//   kMissingText, kEmptyText, kMadeUpId, kInvalidIdType  as document.h says
//
// Ids that are integers are kept as their digits; domains too, and what is
// neither string nor integer counts as no domain. Of a key that comes twice,
// the last value counts. A byte order mark before a line or file is skipped.
// The id of a text file is its name; made-up ids are "<file>:<byte at which the
// line begins, of the unpacked file>".
//
// Text is empty where a document is not scored. Memory: a few times the largest
// document, and the window of the compressed format. Not thread-safe.
class DocumentReader {
 public:
  // InvalidArgument: `options`, or a piece that PlanShards would not make.
  // Else the errors of opening the root.
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(
      const InputOptions& options, const InputShard& shard);

  // The documents in the shard's order, then nullopt. DataLoss naming the file
  // if its bytes are not those of the shard: perhaps only after documents were
  // given, so nothing of a shard counts before the end. NotFound and
  // PermissionDenied as PlanShards. An error is given again by later calls.
  absl::StatusOr<std::optional<Document>> Next();

 private:
  DocumentReader(const InputOptions& options, const InputShard& shard,
                 InputRoot root);

  absl::StatusOr<std::optional<Document>> ReadNext();
  absl::Status OpenPiece();
  // Of the open piece: its bytes, unpacked.
  ByteReader* source() const;
  absl::StatusOr<Document> ReadTextFile();
  absl::StatusOr<std::optional<Document>> ReadLine();
  Document MakeDocument(absl::string_view line, int64_t offset) const;
  Document MadeUpDocument(int64_t offset, uint32_t flags) const;
  std::string MadeUpId(int64_t offset) const;

  const InputOptions options_;
  const InputShard shard_;
  const InputRoot root_;

  size_t next_piece_ = 0;
  // Of the piece that is being read; null between pieces.
  std::unique_ptr<PieceReader> piece_;
  std::unique_ptr<Decompressor> unpacked_;  // null: it is not compressed
  std::unique_ptr<LineReader> lines_;       // null: it is a text file
  bool is_break_told_ = false;
  absl::Status error_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DOCUMENT_READER_H_
