#include "server/frontends/plans_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/plan_cost.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

absl::Status CheckPlanBytes(const v1::HeadPlan& message) {
  const size_t bytes = message.ByteSizeLong();
  if (bytes <= kMaxHeadPlanBytes) return absl::OkStatus();
  return InvalidField("plan", absl::StrCat("has ", bytes, " bytes; at most ",
                                           kMaxHeadPlanBytes, " are allowed"));
}

void WriteRank(const KvBytes& kv, double ms_per_token, v1::RankForecast* out) {
  out->set_held_bytes(kv.held);
  out->set_reserved_bytes(kv.reserved);
  out->set_read_bytes(kv.read);
  out->set_ms_per_token(ms_per_token);
}

}  // namespace

template <typename Request>
absl::Status PlansService::Check(const Request& request) const {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), frontend_.model));
  return frontend_.open_calls.closed() ? DrainingError() : absl::OkStatus();
}

grpc::ServerUnaryReactor* PlansService::Reply(
    const Arrival& arrival, const absl::Status& status,
    grpc::ServerUnaryReactor* reactor) const {
  EndCall(frontend_, arrival, status);
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

v1::PlanInfo PlansService::InfoOf(const StoredPlan& plan) const {
  v1::PlanInfo info;
  info.set_hash(plan.hash);
  if (plan.plan != nullptr) info.set_origin(plan.plan->origin);
  info.set_longest_context_len(plan.longest_context_len);
  info.set_is_default(plan.hash == frontend_.plans.Default().hash);
  info.set_kv_share(plan.kv_share);
  info.set_num_full_units(plan.num_full_units);
  info.set_num_units(plan.num_units);
  return info;
}

void PlansService::WithPlan(const Arrival& arrival, const v1::HeadPlan& message,
                            grpc::ServerUnaryReactor* reactor,
                            std::function<absl::Status(HeadPlan)> use) {
  const absl::Status size = CheckPlanBytes(message);
  absl::StatusOr<HeadPlan> plan =
      size.ok() ? ReadHeadPlan(message) : absl::StatusOr<HeadPlan>(size);
  if (!plan.ok()) {
    Reply(arrival, plan.status(), reactor);
    return;
  }
  frontend_.digest.Get([this, arrival, reactor, plan = *std::move(plan),
                        use = std::move(use)](const std::string& sha256) {
    absl::Status status =
        CheckPlanFits(plan, frontend_.model.model->hyperparameters(), sha256);
    if (status.ok()) status = use(plan);
    Reply(arrival, status, reactor);
  });
}

grpc::ServerUnaryReactor* PlansService::PutPlan(
    grpc::CallbackServerContext* context, const v1::PutPlanRequest* request,
    v1::PlanInfo* response) {
  const Arrival arrival = Arrive(frontend_, "put_plan", *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = Check(*request);
  if (!status.ok()) return Reply(arrival, status, reactor);
  WithPlan(arrival, request->plan(), reactor,
           [this, response](HeadPlan plan) -> absl::Status {
             HEADWISE_ASSIGN_OR_RETURN(const StoredPlan stored,
                                       frontend_.plans.Put(std::move(plan)));
             *response = InfoOf(stored);
             return absl::OkStatus();
           });
  return reactor;
}

grpc::ServerUnaryReactor* PlansService::GetPlan(
    grpc::CallbackServerContext* context, const v1::GetPlanRequest* request,
    v1::GetPlanResponse* response) {
  const Arrival arrival = Arrive(frontend_, "get_plan", *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = Check(*request);
  if (status.ok() &&
      (request->plan().empty() || request->plan() == kFullPlan)) {
    status = InvalidField("plan", "names no stored plan");
  }
  if (!status.ok()) return Reply(arrival, status, reactor);
  const absl::StatusOr<StoredPlan> plan = frontend_.plans.Find(request->plan());
  if (plan.ok()) {
    *response->mutable_info() = InfoOf(*plan);
    WriteHeadPlan(*plan->plan, response->mutable_plan());
  }
  return Reply(arrival, plan.status(), reactor);
}

grpc::ServerUnaryReactor* PlansService::ListPlans(
    grpc::CallbackServerContext* context, const v1::ListPlansRequest* request,
    v1::ListPlansResponse* response) {
  const Arrival arrival = Arrive(frontend_, "list_plans", *context);
  const absl::Status status = Check(*request);
  if (status.ok()) {
    for (const StoredPlan& plan : frontend_.plans.List()) {
      *response->add_plans() = InfoOf(plan);
    }
    response->set_default_plan(frontend_.plans.Default().hash);
  }
  return Reply(arrival, status, context->DefaultReactor());
}

grpc::ServerUnaryReactor* PlansService::DeletePlan(
    grpc::CallbackServerContext* context, const v1::DeletePlanRequest* request,
    v1::DeletePlanResponse*) {
  const Arrival arrival = Arrive(frontend_, "delete_plan", *context);
  absl::Status status = Check(*request);
  if (status.ok()) status = frontend_.plans.Delete(request->plan());
  return Reply(arrival, status, context->DefaultReactor());
}

grpc::ServerUnaryReactor* PlansService::SetDefaultPlan(
    grpc::CallbackServerContext* context,
    const v1::SetDefaultPlanRequest* request,
    v1::SetDefaultPlanResponse* response) {
  const Arrival arrival = Arrive(frontend_, "set_default_plan", *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = Check(*request);
  if (!status.ok()) return Reply(arrival, status, reactor);
  const absl::StatusOr<StoredPlan> previous =
      frontend_.plans.SetDefault(request->plan());
  if (previous.ok()) {
    response->set_previous(previous->hash);
    *response->mutable_info() = InfoOf(frontend_.plans.Default());
  }
  return Reply(arrival, previous.status(), reactor);
}

absl::Status PlansService::Forecast(const StoredPlan& plan, int64_t context_len,
                                    v1::ForecastPlanResponse* response) const {
  const std::shared_ptr<const HeadMap> map = frontend_.cluster.head_map();
  if (map->world_size == 0) {
    return absl::UnavailableError(absl::StrCat("no group of workers stands: ",
                                               frontend_.cluster.detail()));
  }
  const PlanCost cost = CostOnCluster(plan, frontend_.model, *map, context_len);
  response->set_hash(plan.hash);
  response->set_context_len(context_len);
  for (size_t rank = 0; rank < cost.ranks.size(); ++rank) {
    v1::RankForecast& out = *response->add_ranks();
    WriteRank(cost.ranks[rank], cost.ms_per_token[rank], &out);
    out.set_worker(map->workers[rank].name);
  }
  WriteRank(
      cost.total,
      *std::max_element(cost.ms_per_token.begin(), cost.ms_per_token.end()),
      response->mutable_total());
  response->set_full_bytes(cost.full_bytes);
  response->set_served_context_len(
      ServedContextLen(plan, frontend_.model, *map));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* PlansService::ForecastPlan(
    grpc::CallbackServerContext* context,
    const v1::ForecastPlanRequest* request,
    v1::ForecastPlanResponse* response) {
  const Arrival arrival = Arrive(frontend_, "forecast_plan", *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = Check(*request);
  int64_t context_len = request->context_len();
  if (context_len == 0) {
    context_len = frontend_.model.model->hyperparameters().max_context_len;
  }
  if (status.ok() && (context_len < 0 || context_len > kMaxForecastContext)) {
    status = InvalidField(
        "context_len", absl::StrCat("is ", context_len, "; must be from 0 to ",
                                    kMaxForecastContext));
  }
  if (!status.ok()) return Reply(arrival, status, reactor);
  if (request->has_inline_plan()) {
    WithPlan(arrival, request->inline_plan(), reactor,
             [this, context_len, response](HeadPlan plan) {
               return Forecast(frontend_.plans.Describe(std::move(plan)),
                               context_len, response);
             });
    return reactor;
  }
  const absl::StatusOr<StoredPlan> plan =
      frontend_.plans.Find(request->stored());
  status = plan.ok() ? Forecast(*plan, context_len, response) : plan.status();
  return Reply(arrival, status, reactor);
}

}  // namespace headwise
