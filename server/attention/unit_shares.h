// Which worker holds which units and ranges of a session. Pure.

#ifndef HEADWISE_SERVER_ATTENTION_UNIT_SHARES_H_
#define HEADWISE_SERVER_ATTENTION_UNIT_SHARES_H_

#include <cstdint>
#include <vector>

#include "server/attention/attention_types.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// What each worker holds, [num_workers]; may be nothing. Every range of every
// unit is somebody's.
//
// Units that are not full go whole, the largest first, to the worker that would
// be done first. Full units are laid end to end and cut in proportion to the
// speed that is left; a unit that is cut deals its ranges so that at any length
// the holders have positions in proportion to their parts of it. Cuts are at
// 64ths of a unit, so that nobody gets a sliver.
//
// Requires speeds > 0 and policies of every unit.
std::vector<std::vector<UnitShare>> ShareUnits(
    const SessionShape& shape, const std::vector<UnitPolicy>& policies,
    const std::vector<double>& speeds);

// The first_range of each partial that a worker answers for rows that see
// positions below `visible_end` (RangePartial).
std::vector<int32_t> ExpectedParts(const UnitShare& share, int64_t visible_end);

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_UNIT_SHARES_H_
