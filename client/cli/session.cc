#include "client/cli/session.h"

#include <utility>

#include "base/status_macros.h"
#include "client/cli/plan_choice.h"
#include "client/cli/progress_bar.h"
#include "client/cpp/client_call.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<Session>> Session::Open(
    const ClusterFlags& flags, const RetryOptions& retry,
    const SelectionFolders& selection) {
  HEADWISE_ASSIGN_OR_RETURN(const PlanChoice choice,
                            ReadPlanChoice(flags.plan));
  std::unique_ptr<Session> session(new Session());
  ClientOptions options;
  options.timeout = absl::Seconds(flags.timeout_seconds);
  options.retry = retry;
  options.tenant = flags.tenant;
  std::shared_ptr<grpc::Channel> channel;
  if (!flags.server.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(options.security,
                              TransportSecurity::ForClient(flags.tls));
    channel = MakeClientChannel(flags.server, options.security);
    options = OptionsFor(flags.server, std::move(options));
  } else {
    ProgressBar bar("loading");
    LocalServerOptions local;
    local.cluster = flags;
    local.default_plan = choice.plan;
    local.selection = selection;
    local.progress = [&bar](double fraction) { bar.Show(fraction); };
    HEADWISE_ASSIGN_OR_RETURN(session->local_, LocalServer::Create(local));
    channel = session->local_->frontends().InProcessChannel();
  }
  session->client_ = std::make_unique<Client>(channel, options);
  session->selection_ = std::make_unique<SelectionClient>(channel, options);
  HEADWISE_ASSIGN_OR_RETURN(session->plan_,
                            NameAtServer(choice, *session->client_));
  return session;
}

}  // namespace headwise
