// Whether a program's gRPC is encrypted, and how: the one place that makes
// credentials, for those who listen and those who call.

#ifndef HEADWISE_PROTO_TRANSPORT_SECURITY_H_
#define HEADWISE_PROTO_TRANSPORT_SECURITY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tls_files.h"
#include "grpcpp/channel.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace headwise {

// Thread-safe; copies share the files' watcher. Files that change are read
// again within kRefreshSeconds: new connections use the new ones, those that
// stand go on. A pair of key and certificate that do not belong together, as
// between two renames, fails handshakes until the next look.
class TransportSecurity {
 public:
  static constexpr unsigned kRefreshSeconds = 1;

  // Plaintext.
  TransportSecurity() = default;

  // Plaintext if no file is named; else TLS, and errors of CheckTlsFiles. With
  // authorities a server refuses who has no certificate of theirs; a caller
  // without any trusts those of the system.
  static absl::StatusOr<TransportSecurity> ForServer(const TlsFiles& files);
  static absl::StatusOr<TransportSecurity> ForClient(const TlsFiles& files);
  // ForServer of a program whose flags these are, and CheckListenAddress.
  static absl::StatusOr<TransportSecurity> ForListener(const TlsFiles& files,
                                                       absl::string_view listen,
                                                       bool insecure);

  bool is_encrypted() const { return state_ != nullptr; }
  // Do callers need a certificate?
  bool knows_callers() const;

  // To listen with; requires plaintext or ForServer.
  std::shared_ptr<grpc::ServerCredentials> server_credentials() const;

  // To call `target`, as gRPC names it. The server's certificate must be for
  // --tls-server-name, else for `server_name`, else for the target's host.
  std::shared_ptr<grpc::Channel> MakeChannel(
      const std::string& target, grpc::ChannelArguments arguments,
      const std::string& server_name = "") const;

  // OK if callers are not known, or the certificate of this one would do for a
  // server at `address`, host:port, that this program calls. PermissionDenied
  // names what it is for.
  absl::Status CheckIsServerAt(absl::string_view address,
                               const grpc::AuthContext& caller) const;

 private:
  struct State;
  static absl::StatusOr<TransportSecurity> Create(const TlsFiles& files,
                                                  bool serves);

  std::shared_ptr<const State> state_;  // null: plaintext
};

}  // namespace headwise

#endif  // HEADWISE_PROTO_TRANSPORT_SECURITY_H_
