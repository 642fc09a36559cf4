#include "tests/support/test_authority.h"

#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

constexpr char kProgram[] = "/usr/bin/openssl";  // Debian's package openssl
constexpr char kNewKey[] = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

}  // namespace

TestAuthority::TestAuthority(const std::string& path)
    : path_(path), ca_(path + ".ca.pem") {
  Run(absl::StrCat("req -x509 ", kNewKey, " -keyout ", path_, ".ca.key -out ",
                   ca_, " -subj /CN=authority -days 2"));
}

TlsFiles TestAuthority::Issue(const std::string& name, const std::string& names,
                              int days) {
  TlsFiles files;
  files.cert = absl::StrCat(path_, ".", name, ".pem");
  files.key = absl::StrCat(path_, ".", name, ".key");
  files.ca = ca_;
  const std::string request = absl::StrCat(path_, ".", name, ".csr");
  Run(absl::StrCat("req -new ", kNewKey, " -keyout ", files.key, " -out ",
                   request, " -subj /CN=", name,
                   " -addext subjectAltName=", names));
  Run(absl::StrCat("x509 -req -in ", request, " -CA ", ca_, " -CAkey ", path_,
                   ".ca.key -copy_extensions copy -days ", days, " -out ",
                   files.cert));
  return files;
}

void TestAuthority::Run(const std::string& arguments) {
  std::vector<std::string> command = absl::StrSplit(arguments, ' ');
  command.insert(command.begin(), kProgram);
  auto process = ChildProcess::Start(command, path_ + ".log");
  ASSERT_TRUE(process.ok()) << process.status();
  const auto exit = (*process)->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.ok()) << exit.status();
  ASSERT_EQ(*exit, 0) << kProgram << " " << arguments << "\n"
                      << (*process)->Log();
}

void ReplaceFile(const std::string& from, const std::string& to) {
  EXPECT_EQ(std::rename(from.c_str(), to.c_str()), 0) << from << " to " << to;
}

void JoinFiles(const std::string& first, const std::string& second,
               const std::string& to) {
  const std::string part = to + ".part";
  std::ofstream(part) << std::ifstream(first).rdbuf()
                      << std::ifstream(second).rdbuf();
  ReplaceFile(part, to);
}

}  // namespace headwise
