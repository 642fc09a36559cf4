// Computes the SHA-256 of planned pieces.

#ifndef HEADWISE_SERVER_SELECTION_PIECE_HASHER_H_
#define HEADWISE_SERVER_SELECTION_PIECE_HASHER_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/selection/input_root.h"
#include "server/selection/input_shard.h"

namespace headwise {

// Fills in `sha256` of each piece. Works on as many pieces at a time as the
// machine has cores, at most 4: one hashes less than a fast disk reads.
// `progress` gets the bytes hashed so far, from the calling thread, and returns
// false to cancel.
//
// Aborted if a file is no longer as it was planned, Cancelled, or what
// InputRoot::OpenFile and ReadAt return; of the first such piece that was met.
absl::Status HashPieces(const InputRoot& root,
                        absl::Span<ShardPiece* const> pieces,
                        const std::function<bool(int64_t)>& progress);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_PIECE_HASHER_H_
