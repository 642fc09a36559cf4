#include "proto/transport_security.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/host_address.h"
#include "base/status_macros.h"
#include "grpc/grpc_security_constants.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_certificate_verifier.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace headwise {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const TlsFiles& files,
    const std::shared_ptr<FileWatcherCertificateProvider>& watcher) {
  grpc::experimental::TlsServerCredentialsOptions options(watcher);
  options.watch_identity_key_cert_pairs();
  if (!files.ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  // Callers have no name that a server could know beforehand.
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(
    const TlsFiles& files,
    const std::shared_ptr<FileWatcherCertificateProvider>& watcher) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(watcher);
  if (!files.ca.empty()) options.watch_root_certs();
  if (!files.cert.empty()) options.watch_identity_key_cert_pairs();
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::HostNameCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

// A name of a certificate may be for all hosts of a domain: "*.example.org".
bool IsFor(absl::string_view host, absl::string_view name) {
  if (absl::EqualsIgnoreCase(host, name)) return true;
  const size_t dot = host.find('.');
  return absl::StartsWith(name, "*.") && dot != host.npos && dot > 0 &&
         absl::EqualsIgnoreCase(host.substr(dot), name.substr(1));
}

}  // namespace

struct TransportSecurity::State {
  TlsFiles files;
  std::shared_ptr<grpc::ServerCredentials> server;  // null: it only calls
  std::shared_ptr<grpc::ChannelCredentials> channel;
};

absl::StatusOr<TransportSecurity> TransportSecurity::ForServer(
    const TlsFiles& files) {
  return Create(files, /*serves=*/true);
}

absl::StatusOr<TransportSecurity> TransportSecurity::ForClient(
    const TlsFiles& files) {
  return Create(files, /*serves=*/false);
}

absl::StatusOr<TransportSecurity> TransportSecurity::ForListener(
    const TlsFiles& files, absl::string_view listen, bool insecure) {
  HEADWISE_ASSIGN_OR_RETURN(TransportSecurity security, ForServer(files));
  HEADWISE_RETURN_IF_ERROR(
      CheckListenAddress(listen, security.is_encrypted(), insecure));
  return security;
}

absl::StatusOr<TransportSecurity> TransportSecurity::Create(
    const TlsFiles& files, bool serves) {
  HEADWISE_RETURN_IF_ERROR(CheckTlsFiles(files, serves));
  TransportSecurity security;
  if (!files.any()) return security;
  auto state = std::make_shared<State>();
  state->files = files;
  if (files.cert.empty() && files.ca.empty()) {
    // Nothing to watch: a name alone, and the system's authorities.
    state->channel = grpc::experimental::TlsCredentials({});
  } else {
    const auto watcher = std::make_shared<FileWatcherCertificateProvider>(
        files.key, files.cert, files.ca, kRefreshSeconds);
    state->channel = MakeChannelCredentials(files, watcher);
    if (serves) state->server = MakeServerCredentials(files, watcher);
  }
  security.state_ = std::move(state);
  return security;
}

bool TransportSecurity::knows_callers() const {
  return is_encrypted() && !state_->files.ca.empty();
}

std::shared_ptr<grpc::ServerCredentials> TransportSecurity::server_credentials()
    const {
  if (!is_encrypted()) return grpc::InsecureServerCredentials();
  HEADWISE_CHECK(state_->server != nullptr);
  return state_->server;
}

std::shared_ptr<grpc::Channel> TransportSecurity::MakeChannel(
    const std::string& target, grpc::ChannelArguments arguments,
    const std::string& server_name) const {
  if (!is_encrypted()) {
    return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  const std::string& name = state_->files.server_name.empty()
                                ? server_name
                                : state_->files.server_name;
  if (!name.empty()) arguments.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel(target, state_->channel, arguments);
}

absl::Status TransportSecurity::CheckIsServerAt(
    absl::string_view address, const grpc::AuthContext& caller) const {
  if (!knows_callers()) return absl::OkStatus();
  const absl::string_view host = state_->files.server_name.empty()
                                     ? HostOf(address)
                                     : state_->files.server_name;
  std::vector<absl::string_view> names;
  for (const grpc::string_ref& name :
       caller.FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME)) {
    names.emplace_back(name.data(), name.size());
    if (IsFor(host, names.back())) return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      absl::StrCat("the certificate is for \"", absl::StrJoin(names, "\", \""),
                   "\", not for \"", host, "\""));
}

}  // namespace headwise
