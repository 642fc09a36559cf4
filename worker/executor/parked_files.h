// The files of one executor's parked sequences.

#ifndef HEADWISE_WORKER_EXECUTOR_PARKED_FILES_H_
#define HEADWISE_WORKER_EXECUTOR_PARKED_FILES_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "worker/executor/sequences.h"
#include "worker/step/step.h"

namespace headwise {

// Names are made here, so that nobody else's reach the file system:
// headwise-<16 random hexadecimal digits>-<sequence id>.kv. Those that are left
// go with the object; those of a process that was killed stay and are of no use
// to anybody. Not thread-safe.
class ParkedFiles {
 public:
  // `dir` empty: there is none, and whatever needs one is FailedPrecondition.
  explicit ParkedFiles(std::string dir);
  ~ParkedFiles();
  ParkedFiles(const ParkedFiles&) = delete;
  ParkedFiles& operator=(const ParkedFiles&) = delete;

  // Plans that the request names are kept by `sequences`.
  ParkOutcome Apply(const ParkRequest& request, Sequences* sequences);
  // No effect if there is none.
  void Erase(uint64_t sequence_id);

 private:
  std::string PathOf(uint64_t sequence_id) const;
  ParkOutcome Write(uint64_t sequence_id, const Sequences& sequences);

  const std::string dir_;
  const std::string tag_;
  absl::flat_hash_set<uint64_t> files_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_PARKED_FILES_H_
