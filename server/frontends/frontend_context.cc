#include "server/frontends/frontend_context.h"

#include <algorithm>
#include <chrono>

#include "base/error_facts.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/request_log.h"

namespace headwise {

Arrival Arrive(const FrontendContext& frontend, const char* api,
               grpc::CallbackServerContext& context) {
  const absl::Time now = frontend.clock.Now();
  const absl::Duration remaining =
      absl::FromChrono(context.deadline()) -
      absl::FromChrono(std::chrono::system_clock::now());
  Arrival arrival = {api, RequestIdOf(context), now,
                     now + std::min(remaining, frontend.max_call_time)};
  // Who refuses a tenant that can't be one says so.
  arrival.tenant = TenantOf(context).value_or("");
  context.AddInitialMetadata(kRequestIdKey, arrival.request_id);
  return arrival;
}

void EndCall(const FrontendContext& frontend, const Arrival& arrival,
             const absl::Status& status, const RequestUsage* usage,
             int64_t scored_tokens) {
  RequestRecord record;
  record.api = arrival.api;
  record.code = status.code();
  record.latency = frontend.clock.Now() - arrival.time;
  record.has_usage = usage != nullptr;
  if (usage != nullptr) record.usage = *usage;
  record.scored_tokens = scored_tokens;
  frontend.metrics.RecordRequest(record);
  LogRequest(arrival.request_id, arrival.plan, record, status);
}

absl::Status DrainingError() {
  return WithFacts(
      absl::UnavailableError("the server is draining: it will shut down"),
      {.reason = "DRAINING"});
}

}  // namespace headwise
