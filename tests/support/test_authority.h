// A certificate authority for tests, by the program `openssl`.

#ifndef HEADWISE_TESTS_SUPPORT_TEST_AUTHORITY_H_
#define HEADWISE_TESTS_SUPPORT_TEST_AUTHORITY_H_

#include <string>

#include "base/tls_files.h"

namespace headwise {

// Not thread-safe. What can't be made is a failure of the test.
class TestAuthority {
 public:
  // Files begin with `path`, in a folder that is there.
  explicit TestAuthority(const std::string& path);

  // PEM: its own certificate.
  const std::string& ca() const { return ca_; }

  // A certificate for these names, as of OpenSSL's subjectAltName
  // ("IP:127.0.0.1,DNS:localhost"), from now on for so many days; -1: it has
  // expired. `ca` of the result is this authority's.
  TlsFiles Issue(const std::string& name, const std::string& names,
                 int days = 2);

 private:
  void Run(const std::string& arguments);

  const std::string path_;
  const std::string ca_;
};

// Moves `from` to `to`, whole: who reads it has the old one or the new.
void ReplaceFile(const std::string& from, const std::string& to);
// The files one after another, as one.
void JoinFiles(const std::string& first, const std::string& second,
               const std::string& to);

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_TEST_AUTHORITY_H_
