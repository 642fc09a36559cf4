// Heads written by a team of threads.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TEAM_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TEAM_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/thread_team.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

// Rows [begin, end) of a head.
struct HeadPart {
  int64_t head = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// Who writes what when every head writes the same number of rows. A head's
// rows are written in order, so only heads are independent; but 9 heads on two
// threads need not take as long as 10: a head in the middle goes to one thread
// for its first rows, which that one does first of all, and to the next thread
// for the others, which it does last (McNaughton's rule, 1959: no thread waits
// long as there are at least as many heads as threads).
//
// Parts of a member, in the order in which it does them. Only the last may be
// the rest of a head: then the member before has its first rows. Cuts are at
// multiples of `grain` rows.
std::vector<HeadPart> PartsOfMember(int64_t num_heads, int64_t num_rows,
                                    int64_t grain, int member, int num_members);

// Writes rows[i] to *heads[i], all of the same number of rows; statuses[i] is
// what MemoryHead::Write says. scratches has one for each member of the team.
// Bits know nothing of the team.
struct HeadWrites {
  absl::Span<MemoryHead* const> heads;
  absl::Span<const MemoryRows> rows;
  absl::Span<absl::Status> statuses;
  absl::Span<MemoryUndo> undos = {};  // of marked heads; or empty
};
void WriteHeads(const HeadWrites& writes, const MemoryKernels& kernels,
                ThreadTeam& team, absl::Span<MemoryScratch> scratches);

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TEAM_H_
