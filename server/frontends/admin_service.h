// headwise.v1.Admin: what an operator asks.

#ifndef HEADWISE_SERVER_FRONTENDS_ADMIN_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_ADMIN_SERVICE_H_

#include <string>

#include "headwise/v1/admin.grpc.pb.h"
#include "server/frontends/frontend_context.h"

namespace headwise {

// Methods run on gRPC's threads and never wait. Thread-safe.
class AdminService final : public v1::Admin::CallbackService {
 public:
  explicit AdminService(const FrontendContext& frontend)
      : frontend_(frontend) {}

  grpc::ServerUnaryReactor* GetHeadMap(grpc::CallbackServerContext* context,
                                       const v1::GetHeadMapRequest* request,
                                       v1::HeadMap* response) override;
  grpc::ServerUnaryReactor* PlanPlacement(
      grpc::CallbackServerContext* context,
      const v1::PlanPlacementRequest* request, v1::HeadMap* response) override;
  grpc::ServerUnaryReactor* CheckCapacity(
      grpc::CallbackServerContext* context,
      const v1::CheckCapacityRequest* request,
      v1::CheckCapacityResponse* response) override;

 private:
  grpc::ServerUnaryReactor* Reply(const Arrival& arrival,
                                  grpc::CallbackServerContext* context,
                                  const absl::Status& status);
  absl::Status AnswerCapacity(const v1::CheckCapacityRequest& request,
                              v1::CheckCapacityResponse* response) const;
  // The map as it is under the plan of that name.
  absl::Status Show(HeadMap map, const std::string& plan,
                    v1::HeadMap* response) const;
  const FrontendContext frontend_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ADMIN_SERVICE_H_
