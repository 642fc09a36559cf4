#include "server/frontends/admin_service.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "server/frontends/head_map_plan.h"
#include "server/frontends/placement_forecast.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/response_writer.h"
#include "server/frontends/rich_status.h"

namespace headwise {

grpc::ServerUnaryReactor* AdminService::Reply(
    const Arrival& arrival, grpc::CallbackServerContext* context,
    const absl::Status& status) {
  EndCall(frontend_, arrival, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

absl::Status AdminService::Show(HeadMap map, const std::string& plan,
                                v1::HeadMap* response) const {
  HEADWISE_ASSIGN_OR_RETURN(const StoredPlan stored,
                            frontend_.plans.Find(plan));
  ShowPlan(stored, &map);
  WriteHeadMap(map, response);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdminService::GetHeadMap(
    grpc::CallbackServerContext* context, const v1::GetHeadMapRequest* request,
    v1::HeadMap* response) {
  const Arrival arrival = Arrive(frontend_, "get_head_map", *context);
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  if (status.ok() && frontend_.open_calls.closed()) status = DrainingError();
  // Asked for once: the group may be lost at any time.
  const std::shared_ptr<const HeadMap> map = frontend_.cluster.head_map();
  const std::vector<MissingMember> missing =
      frontend_.cluster.missing_workers();
  if (status.ok() && map->world_size == 0) {
    std::string why = absl::StrCat("no group of workers stands: ",
                                   frontend_.cluster.detail());
    for (const MissingMember& worker : missing) {
      absl::StrAppend(&why, "; missing ", worker.name, ": ", worker.reason);
    }
    status = WithFacts(absl::UnavailableError(why), {.reason = "NO_GROUP"});
  }
  if (status.ok()) status = Show(*map, request->plan(), response);
  for (const MissingMember& worker : missing) {
    v1::MissingWorker* out = response->add_missing();
    out->set_name(worker.name);
    out->set_reason(worker.reason);
  }
  return Reply(arrival, context, status);
}

grpc::ServerUnaryReactor* AdminService::PlanPlacement(
    grpc::CallbackServerContext* context,
    const v1::PlanPlacementRequest* request, v1::HeadMap* response) {
  const Arrival arrival = Arrive(frontend_, "plan_placement", *context);
  const absl::StatusOr<PlacementCall> call =
      ParsePlanPlacementRequest(*request, frontend_.model);
  absl::Status status = call.status();
  if (call.ok()) {
    const absl::StatusOr<HeadMap> map = ForecastHeadMap(frontend_.model, *call);
    status = map.status();
    if (map.ok()) status = Show(*map, request->plan(), response);
  }
  return Reply(arrival, context, status);
}

grpc::ServerUnaryReactor* AdminService::CheckCapacity(
    grpc::CallbackServerContext* context,
    const v1::CheckCapacityRequest* request,
    v1::CheckCapacityResponse* response) {
  const Arrival arrival = Arrive(frontend_, "check_capacity", *context);
  return Reply(arrival, context, AnswerCapacity(*request, response));
}

absl::Status AdminService::AnswerCapacity(
    const v1::CheckCapacityRequest& request,
    v1::CheckCapacityResponse* response) const {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), frontend_.model));
  if (request.prompt_tokens() < 1) {
    return InvalidField(
        "prompt_tokens",
        absl::StrCat("is ", request.prompt_tokens(), "; must be 1 or more"));
  }
  if (request.max_tokens() < 0) {
    return InvalidField("max_tokens", absl::StrCat("is ", request.max_tokens(),
                                                   "; must be 0 or more"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const StoredPlan plan,
                            frontend_.plans.Find(request.plan()));
  if (frontend_.open_calls.closed()) return DrainingError();
  HEADWISE_ASSIGN_OR_RETURN(
      const SizeAnswer answer,
      frontend_.engine.AskSize({.prompt_tokens = request.prompt_tokens(),
                                .max_new_tokens = request.max_tokens(),
                                .plan = plan.plan}));
  WriteSizeAnswer(answer, response);
  return absl::OkStatus();
}

}  // namespace headwise
