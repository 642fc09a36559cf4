#include "base/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/host_address.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr char kCert[] = "--tls-cert";
constexpr char kKey[] = "--tls-key";
constexpr char kCa[] = "--tls-ca";
// The bundle of a Debian machine has 0.2 MB.
constexpr size_t kMaxFileBytes = 16 << 20;

template <auto kFree>
struct FreeBy {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, FreeBy<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, FreeBy<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;

absl::Status Wrong(absl::string_view flag, absl::string_view path,
                   absl::string_view reason) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " ", path, ": ", reason));
}

absl::StatusOr<std::string> ReadFile(absl::string_view flag,
                                     const std::string& path) {
  const std::unique_ptr<std::FILE, FreeBy<std::fclose>> file(
      std::fopen(path.c_str(), "rb"));
  std::string bytes;
  char piece[4096];
  while (file != nullptr && bytes.size() <= kMaxFileBytes) {
    errno = 0;
    const size_t size = std::fread(piece, 1, sizeof(piece), file.get());
    if (size == 0) break;
    bytes.append(piece, size);
  }
  if (file == nullptr || std::ferror(file.get()) != 0) {
    return Wrong(flag, path, std::strerror(errno));
  }
  if (bytes.size() > kMaxFileBytes) {
    return Wrong(flag, path,
                 absl::StrCat("more than ", kMaxFileBytes, " bytes"));
  }
  return bytes;
}

Bio BioOf(const std::string& bytes) {
  return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// At least one.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(
    absl::string_view flag, const std::string& path) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flag, path));
  const Bio bio = BioOf(bytes);
  std::vector<Certificate> certificates;
  while (true) {
    Certificate next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (next == nullptr) break;
    certificates.push_back(std::move(next));
  }
  // The end of the file is an error too: no further one begins.
  const unsigned long error = ERR_peek_last_error();  // NOLINT: OpenSSL's type
  ERR_clear_error();
  if (certificates.empty()) return Wrong(flag, path, "no PEM certificate");
  if (ERR_GET_REASON(error) == PEM_R_NO_START_LINE) return certificates;
  return Wrong(flag, path,
               absl::StrCat("certificate ", certificates.size() + 1,
                            " of the file can't be read"));
}

std::string TextOf(const ASN1_TIME* time) {
  const Bio bio(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(bio.get(), time);
  char* text = nullptr;
  const auto size = static_cast<size_t>(BIO_get_mem_data(bio.get(), &text));
  return std::string(text, size);
}

// Why it is not valid now; empty: it is.
std::string WhyNotValid(const X509& certificate) {
  const ASN1_TIME* begin = X509_get0_notBefore(&certificate);
  const ASN1_TIME* end = X509_get0_notAfter(&certificate);
  if (X509_cmp_current_time(end) < 0) {
    return absl::StrCat("has expired on ", TextOf(end));
  }
  if (X509_cmp_current_time(begin) > 0) {
    return absl::StrCat("is not valid before ", TextOf(begin));
  }
  return "";
}

// Never asks for one.
int NoPassword(char*, int, int, void*) { return -1; }

absl::Status CheckIdentity(const TlsFiles& files) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                            ReadCertificates(kCert, files.cert));
  for (const Certificate& certificate : chain) {
    const std::string why = WhyNotValid(*certificate);
    if (!why.empty()) return Wrong(kCert, files.cert, why);
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(kKey, files.key));
  const Bio bio = BioOf(bytes);
  const Key key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr));
  const bool is_its =
      key != nullptr && X509_check_private_key(chain[0].get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return Wrong(kKey, files.key, "no PEM private key, or one with a password");
  }
  if (is_its) return absl::OkStatus();
  return Wrong(kKey, files.key,
               absl::StrCat("not the key of ", kCert, " ", files.cert));
}

// A bundle may have some that have expired.
absl::Status CheckAuthorities(const std::string& path) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                            ReadCertificates(kCa, path));
  std::string why;
  for (const Certificate& authority : authorities) {
    why = WhyNotValid(*authority);
    if (why.empty()) return absl::OkStatus();
  }
  return Wrong(kCa, path, why);
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files, bool serves) {
  if (!files.any()) return absl::OkStatus();
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(
        files.key.empty() ? absl::StrCat(kCert, " needs ", kKey)
                          : absl::StrCat(kKey, " needs ", kCert));
  }
  if (serves && files.cert.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a server with TLS needs ", kCert, " and ", kKey, "; got ",
                     files.ca.empty() ? "--tls-server-name" : kCa, " alone"));
  }
  if (!files.cert.empty()) HEADWISE_RETURN_IF_ERROR(CheckIdentity(files));
  return files.ca.empty() ? absl::OkStatus() : CheckAuthorities(files.ca);
}

absl::Status CheckListenAddress(absl::string_view listen, bool is_encrypted,
                                bool insecure) {
  const bool stays_here =
      IsLoopbackHost(HostOf(listen)) || absl::StartsWith(listen, "unix:");
  if (stays_here || is_encrypted || insecure) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--listen ", listen,
      ": other machines reach this address, and without TLS anybody there may "
      "call, and read and change what is said; give ",
      kCert, " and ", kKey,
      ", or --insecure if nobody else is on that network"));
}

}  // namespace headwise
