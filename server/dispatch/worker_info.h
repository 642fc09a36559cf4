// What a worker says of itself, for the book of members.

#ifndef HEADWISE_SERVER_DISPATCH_WORKER_INFO_H_
#define HEADWISE_SERVER_DISPATCH_WORKER_INFO_H_

#include "headwise/worker/v1/worker.pb.h"
#include "server/membership/membership.h"

namespace headwise {

// That the fields are in range is checked by Membership::Register.
MemberInfo ParseWorkerInfo(const worker::v1::WorkerInfo& info);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_WORKER_INFO_H_
