#include "worker/neural_memory/memory_team.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"

namespace headwise {
namespace {

MemoryRows PartOfRows(const MemoryRows& rows, int64_t begin, int64_t end) {
  MemoryRows part = rows;
  const int64_t at = begin * rows.row_stride;
  const int64_t gate = begin * rows.gate_stride;
  part.num_rows = end - begin;
  part.keys += at;
  part.values += at;
  part.theta += gate;
  part.eta += gate;
  part.alpha += gate;
  if (part.queries != nullptr) {
    part.queries += at;
    part.out += at;
  }
  if (part.surprise != nullptr) part.surprise += gate;
  return part;
}

// Where the share of members [0, member) ends, if heads lie end to end.
int64_t CutBefore(int64_t num_heads, int64_t num_rows, int64_t grain,
                  int64_t member, int64_t num_members) {
  if (member == num_members) return num_heads * num_rows;
  const int64_t at = num_heads * num_rows * member / num_members;
  const int64_t head = at / num_rows;
  return head * num_rows + (at - head * num_rows) / grain * grain;
}

}  // namespace

std::vector<HeadPart> PartsOfMember(int64_t num_heads, int64_t num_rows,
                                    int64_t grain, int member,
                                    int num_members) {
  std::vector<HeadPart> parts;
  const int64_t sharing = std::min<int64_t>(num_heads, num_members);
  if (num_rows == 0 || member >= sharing) return parts;
  const int64_t begin = CutBefore(num_heads, num_rows, grain, member, sharing);
  const int64_t end =
      CutBefore(num_heads, num_rows, grain, member + 1, sharing);
  // From the last head, which may go on with the next member, to the first.
  for (int64_t head = (end - 1) / num_rows; head * num_rows + num_rows > begin;
       --head) {
    const int64_t first = head * num_rows;
    parts.push_back({head, std::max<int64_t>(begin - first, 0),
                     std::min(end - first, num_rows)});
    if (head == 0) break;
  }
  return parts;
}

void WriteHeads(const HeadWrites& writes, const MemoryKernels& kernels,
                ThreadTeam& team, absl::Span<MemoryScratch> scratches) {
  if (writes.heads.empty()) return;
  const auto num_heads = static_cast<int64_t>(writes.heads.size());
  const int64_t num_rows = writes.rows[0].num_rows;
  const int64_t grain =
      std::max(writes.heads[0]->spec().chunk_len, MemoryScratch::kBlockRows);
  // Set once a head's first rows are written.
  std::vector<std::atomic<bool>> begun(writes.heads.size());
  team.Run([&](int member) {
    for (const HeadPart& part : PartsOfMember(num_heads, num_rows, grain,
                                              member, team.num_threads())) {
      absl::Status& status = writes.statuses[part.head];
      if (part.begin > 0) {
        begun[part.head].wait(false);
        if (!status.ok()) continue;
      }
      const MemoryRows& rows = writes.rows[part.head];
      HEADWISE_CHECK(rows.num_rows == num_rows);
      status = writes.heads[part.head]->Write(
          PartOfRows(rows, part.begin, part.end), kernels, scratches[member],
          writes.undos.empty() ? nullptr : &writes.undos[part.head]);
      begun[part.head] = true;
      begun[part.head].notify_one();
    }
  });
}

}  // namespace headwise
