// Finds the files of a job's input and cuts them into shards.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_FILES_H_
#define HEADWISE_SERVER_SELECTION_INPUT_FILES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/selection/input_shard.h"

namespace headwise {

// Bytes hashed of bytes to hash; 0 of 0 while files are looked for. Returns
// false to cancel. Called by the thread that called PlanShards.
using PlanProgress = std::function<bool(int64_t bytes, int64_t of_bytes)>;

// The shards of what `options` names, in the byte order of the files' relative
// names. They depend on names and bytes of the files and on `options` alone.
//
//   .jsonl .ndjson .json   a document per line; cut at the first line end after
//                          `shard_bytes`
//   the same + .gz, .zst   a document per line; a shard of its own
//   any other              a document; + .gz, .zst: compressed
//
// Small files share a shard, as long as it stays within `shard_bytes`. Files
// and folders whose name begins with a dot are left out, unless `paths` names
// them.
//
// Reads every byte once, by several threads. Errors name the file. NotFound: a
// path that does not exist, or no document in all of them. InvalidArgument:
// `options` (CheckInputOptions), a root that is relative, no folder or reached
// through a link, a path that leaves it, a name with a newline or that is not
// UTF-8, a link to a folder, what is neither file nor folder, a format that is
// not read (.parquet, .tar, .xz, ...). PermissionDenied: a link that leaves the
// root, a file or folder that may not be read. ResourceExhausted: more than
// kMaxInputPieces. Aborted: a file changed meanwhile. Cancelled: by `progress`.
absl::StatusOr<std::vector<InputShard>> PlanShards(
    const InputOptions& options, const PlanProgress& progress);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_FILES_H_
