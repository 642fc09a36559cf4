// Which chunks were stored last, so that one that comes again is known.

#ifndef HEADWISE_SERVER_LEASES_CHUNK_LOG_H_
#define HEADWISE_SERVER_LEASES_CHUNK_LOG_H_

#include <cstdint>
#include <iterator>
#include <map>
#include <string>

namespace headwise {

// Remembers the last kMaxChunks, about 100 bytes each. Not thread-safe.
class ChunkLog {
 public:
  static constexpr size_t kMaxChunks = 1024;

  void Add(int64_t offset, int64_t num_positions, const std::string& sha256) {
    chunks_[offset] = {num_positions, sha256};
    if (chunks_.size() > kMaxChunks) chunks_.erase(chunks_.begin());
  }
  // Forgets what does not end before `end`.
  void KeepUpTo(int64_t end) {
    for (auto it = chunks_.begin(); it != chunks_.end();) {
      it = it->first + it->second.num_positions > end ? chunks_.erase(it)
                                                      : std::next(it);
    }
  }
  bool Has(int64_t offset, int64_t num_positions,
           const std::string& sha256) const {
    const auto found = chunks_.find(offset);
    return found != chunks_.end() &&
           found->second.num_positions == num_positions &&
           found->second.sha256 == sha256;
  }

 private:
  struct Stored {
    int64_t num_positions = 0;
    std::string sha256;
  };
  std::map<int64_t, Stored> chunks_;  // by offset
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_CHUNK_LOG_H_
