// Where a command gets its answers.

#ifndef HEADWISE_CLIENT_CLI_SESSION_H_
#define HEADWISE_CLIENT_CLI_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/flags.h"
#include "client/cli/local_server.h"
#include "client/cpp/client.h"
#include "client/cpp/selection_client.h"

namespace headwise {

// A client of a running server, or of one inside this process.
class Session {
 public:
  // Loads the model if flags.server is empty. A plan of flags.plan that is a
  // file is read first, checked against a model here, and put to the server.
  // `selection`: of a server inside this process.
  static absl::StatusOr<std::unique_ptr<Session>> Open(
      const ClusterFlags& flags, const RetryOptions& retry = {},
      const SelectionFolders& selection = {});

  Client& client() { return *client_; }
  SelectionClient& selection() { return *selection_; }
  // Null for a running server.
  LocalServer* local() { return local_.get(); }
  // What requests name their plan by; empty: they leave it to the server.
  const std::string& plan() const { return plan_; }

 private:
  Session() = default;
  std::unique_ptr<LocalServer> local_;  // outlives client_
  std::unique_ptr<Client> client_;
  std::unique_ptr<SelectionClient> selection_;
  std::string plan_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SESSION_H_
