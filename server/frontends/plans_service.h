// headwise.v1.Plans: head plans that requests may name.

#ifndef HEADWISE_SERVER_FRONTENDS_PLANS_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_PLANS_SERVICE_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "headwise/v1/plans.grpc.pb.h"
#include "server/frontends/frontend_context.h"

namespace headwise {

// Methods run on gRPC's threads and never wait. Thread-safe.
class PlansService final : public v1::Plans::CallbackService {
 public:
  explicit PlansService(const FrontendContext& frontend)
      : frontend_(frontend) {}

  grpc::ServerUnaryReactor* PutPlan(grpc::CallbackServerContext* context,
                                    const v1::PutPlanRequest* request,
                                    v1::PlanInfo* response) override;
  grpc::ServerUnaryReactor* GetPlan(grpc::CallbackServerContext* context,
                                    const v1::GetPlanRequest* request,
                                    v1::GetPlanResponse* response) override;
  grpc::ServerUnaryReactor* ListPlans(grpc::CallbackServerContext* context,
                                      const v1::ListPlansRequest* request,
                                      v1::ListPlansResponse* response) override;
  grpc::ServerUnaryReactor* DeletePlan(
      grpc::CallbackServerContext* context,
      const v1::DeletePlanRequest* request,
      v1::DeletePlanResponse* response) override;
  grpc::ServerUnaryReactor* SetDefaultPlan(
      grpc::CallbackServerContext* context,
      const v1::SetDefaultPlanRequest* request,
      v1::SetDefaultPlanResponse* response) override;
  grpc::ServerUnaryReactor* ForecastPlan(
      grpc::CallbackServerContext* context,
      const v1::ForecastPlanRequest* request,
      v1::ForecastPlanResponse* response) override;

 private:
  // Of a request that names a model, while the server takes any.
  template <typename Request>
  absl::Status Check(const Request& request) const;
  // Calls `use` with the message's plan, if it is one of the served model, and
  // ends the call with what it returns. At once, or when the model's digest is
  // known.
  void WithPlan(const Arrival& arrival, const v1::HeadPlan& message,
                grpc::ServerUnaryReactor* reactor,
                std::function<absl::Status(HeadPlan)> use);
  v1::PlanInfo InfoOf(const StoredPlan& plan) const;
  absl::Status Forecast(const StoredPlan& plan, int64_t context_len,
                        v1::ForecastPlanResponse* response) const;
  grpc::ServerUnaryReactor* Reply(const Arrival& arrival,
                                  const absl::Status& status,
                                  grpc::ServerUnaryReactor* reactor) const;

  const FrontendContext frontend_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLANS_SERVICE_H_
