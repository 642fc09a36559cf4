#include "server/dispatch/worker_info.h"

namespace headwise {

MemberInfo ParseWorkerInfo(const worker::v1::WorkerInfo& info) {
  MemberInfo out;
  out.name = info.name();
  out.address = info.address();
  out.host_id = info.host_id();
  out.speed = info.speed();
  out.memory_bytes = info.memory_bytes();
  out.num_threads = info.num_threads();
  out.isa = info.isa();
  out.build = {.version = info.version(),
               .protocols = {info.oldest_protocol(), info.newest_protocol()},
               .numerics = info.numerics()};
  out.process_id = info.process_id();
  out.gpu_id = info.gpu_id();
  out.nccl_version = info.nccl_version();
  return out;
}

}  // namespace headwise
