#include "client/cli/session.h"

#include "base/status_macros.h"
#include "client/cli/plan_choice.h"
#include "client/cli/progress_bar.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<Session>> Session::Open(
    const ClusterFlags& flags, const RetryOptions& retry) {
  HEADWISE_ASSIGN_OR_RETURN(const PlanChoice choice,
                            ReadPlanChoice(flags.plan));
  std::unique_ptr<Session> session(new Session());
  ClientOptions options;
  options.timeout = absl::Seconds(flags.timeout_seconds);
  options.retry = retry;
  options.tenant = flags.tenant;
  if (!flags.server.empty()) {
    session->client_ = Client::Connect(flags.server, options);
  } else {
    ProgressBar bar("loading");
    LocalServerOptions local;
    local.cluster = flags;
    local.default_plan = choice.plan;
    local.progress = [&bar](double fraction) { bar.Show(fraction); };
    HEADWISE_ASSIGN_OR_RETURN(session->local_, LocalServer::Create(local));
    session->client_ = std::make_unique<Client>(
        session->local_->frontends().InProcessChannel(), options);
  }
  HEADWISE_ASSIGN_OR_RETURN(session->plan_,
                            NameAtServer(choice, *session->client_));
  return session;
}

}  // namespace headwise
