// The files that TLS needs, checked before anything is served or called.

#ifndef HEADWISE_BASE_TLS_FILES_H_
#define HEADWISE_BASE_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace headwise {

// PEM files; empty: none. All empty: no TLS.
struct TlsFiles {
  std::string cert;  // this program's certificate, then those between it and
                     // its authority
  std::string key;   // its private key, not encrypted
  std::string ca;    // certificates of the authorities that others must have
                     // theirs from
  // What certificates of servers must be for, where that is not the host in
  // their address.
  std::string server_name;

  bool any() const {
    return !cert.empty() || !key.empty() || !ca.empty() || !server_name.empty();
  }
};

inline constexpr char kTlsFlagGroup[] =
    "TLS (PEM files, read again when they change)";

// Flags of those names; `App` is CLI::App.
template <typename App>
void AddTlsFlags(App& app, TlsFiles& files) {
  app.add_option("--tls-cert", files.cert, "Certificate of this program")
      ->group(kTlsFlagGroup);
  app.add_option("--tls-key", files.key, "Private key of --tls-cert")
      ->group(kTlsFlagGroup);
  app.add_option("--tls-ca", files.ca,
                 "Authorities that others' certificates must come from; a "
                 "server then refuses who has none")
      ->group(kTlsFlagGroup);
  app.add_option("--tls-server-name", files.server_name,
                 "Name that certificates of servers must have; default: the "
                 "host in their address")
      ->group(kTlsFlagGroup);
}

// --insecure, of programs that listen.
template <typename App>
void AddInsecureFlag(App& app, bool& insecure) {
  app.add_flag("--insecure", insecure,
               "Listen without TLS beyond this machine, on a network that "
               "nobody else can reach")
      ->group(kTlsFlagGroup);
}

// InvalidArgument that names flag, path and reason: a file that
// can't be read or is not what it should be, a key that is not the
// certificate's, a certificate that has expired or is not valid yet, a flag
// without one that it needs. A program that serves needs a certificate.
absl::Status CheckTlsFiles(const TlsFiles& files, bool serves);

// InvalidArgument if `listen`, host:port, can be reached from other machines
// and neither is what is said there encrypted, nor has the operator said that
// it need not be.
absl::Status CheckListenAddress(absl::string_view listen, bool is_encrypted,
                                bool insecure);

}  // namespace headwise

#endif  // HEADWISE_BASE_TLS_FILES_H_
