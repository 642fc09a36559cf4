// One call of a link to a store of this process.

#ifndef HEADWISE_SERVER_LEASES_LOCAL_CALL_H_
#define HEADWISE_SERVER_LEASES_LOCAL_CALL_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/leases/done.h"
#include "worker/leases/store_node.h"

namespace headwise {

inline absl::StatusOr<Nothing> NothingOr(const absl::Status& status) {
  if (!status.ok()) return status;
  return Nothing{};
}

// Runs `call` on the node's thread and hands its answer on.
template <typename T, typename Store, typename Call>
void CallStore(StoreNode<Store>& node, Done<T> done, Call call) {
  const absl::Status submitted =
      node.Submit([done, call = std::move(call)](Store& store) mutable {
        done(call(store));
      });
  if (!submitted.ok()) done(submitted);
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_LOCAL_CALL_H_
