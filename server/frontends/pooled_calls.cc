#include "server/frontends/pooled_calls.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/unary_call.h"

namespace headwise {

PooledCalls::Entry PooledCalls::Enter(const char* api,
                                      grpc::CallbackServerContext& context) {
  Entry entry;
  entry.arrival = Arrive(frontend_, api, context);
  entry.cancelled = std::make_shared<std::atomic<bool>>(false);
  entry.caller.deadline = entry.arrival.deadline;
  entry.caller.is_cancelled = [cancelled = entry.cancelled] {
    return cancelled->load();
  };
  entry.counted = frontend_.open_calls.Count();
  absl::StatusOr<std::string> tenant = TenantOf(context);
  entry.status = entry.counted == nullptr ? DrainingError() : tenant.status();
  if (tenant.ok()) entry.caller.tenant = *std::move(tenant);
  return entry;
}

std::function<void(const absl::Status&)> PooledCalls::EndOf(
    const Entry& entry) {
  return [this, entry](const absl::Status& status) {
    EndCall(frontend_, entry.arrival, status);
  };
}

grpc::ServerUnaryReactor* PooledCalls::Run(
    const char* api, grpc::CallbackServerContext* context,
    std::function<absl::Status(const Caller&)> work) {
  Entry entry = Enter(api, *context);
  auto* reactor = new UnaryCall();
  reactor->SetCancel([cancelled = entry.cancelled] { *cancelled = true; });
  const auto finish = [this, reactor,
                       arrival = entry.arrival](const absl::Status& status) {
    EndCall(frontend_, arrival, status);
    reactor->Finish(ToGrpcStatus(status));
  };
  absl::Status status = entry.status;
  if (status.ok()) {
    status = pool_.Submit([entry, finish, work = std::move(work)]() mutable {
      finish(work(entry.caller));
    });
  }
  if (!status.ok()) finish(status);
  return reactor;
}

}  // namespace headwise
