#include "server/frontends/admin_service.h"

#include "server/frontends/placement_forecast.h"
#include "server/frontends/request_log.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/response_writer.h"
#include "server/frontends/rich_status.h"

namespace headwise {

grpc::ServerUnaryReactor* AdminService::Reply(
    const char* api, absl::Time arrival, grpc::CallbackServerContext* context,
    const absl::Status& status) {
  RequestRecord record;
  record.api = api;
  record.code = status.code();
  record.latency = frontend_.clock.Now() - arrival;
  frontend_.metrics.RecordRequest(record);
  LogRequest(RequestIdOf(*context), record, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::GetHeadMap(
    grpc::CallbackServerContext* context, const v1::GetHeadMapRequest* request,
    v1::HeadMap* response) {
  const absl::Time arrival = frontend_.clock.Now();
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  if (status.ok() && !frontend_.cluster.ready()) {
    status = absl::UnavailableError("no group of workers stands");
  }
  if (status.ok()) WriteHeadMap(*frontend_.cluster.head_map(), response);
  return Reply("get_head_map", arrival, context, status);
}

grpc::ServerUnaryReactor* AdminService::PlanPlacement(
    grpc::CallbackServerContext* context,
    const v1::PlanPlacementRequest* request, v1::HeadMap* response) {
  const absl::Time arrival = frontend_.clock.Now();
  const absl::StatusOr<PlacementCall> call =
      ParsePlanPlacementRequest(*request, frontend_.model);
  absl::Status status = call.status();
  if (call.ok()) {
    const absl::StatusOr<HeadMap> map = ForecastHeadMap(frontend_.model, *call);
    status = map.status();
    if (map.ok()) WriteHeadMap(*map, response);
  }
  return Reply("plan_placement", arrival, context, status);
}

}  // namespace headwise
