#include "client/cli/session.h"

#include "base/status_macros.h"
#include "client/cli/progress_bar.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<Session>> Session::Open(
    const ClusterFlags& flags, const RetryOptions& retry) {
  std::unique_ptr<Session> session(new Session());
  ClientOptions options;
  options.timeout = absl::Seconds(flags.timeout_seconds);
  options.retry = retry;
  if (!flags.server.empty()) {
    session->client_ = Client::Connect(flags.server, options);
    return session;
  }
  ProgressBar bar("loading");
  LocalServerOptions local;
  local.cluster = flags;
  local.progress = [&bar](double fraction) { bar.Show(fraction); };
  HEADWISE_ASSIGN_OR_RETURN(session->local_, LocalServer::Create(local));
  session->client_ = std::make_unique<Client>(
      session->local_->frontends().InProcessChannel(), options);
  return session;
}

}  // namespace headwise
