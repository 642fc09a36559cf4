#include "base/tls_files.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST(TlsFilesTest, NoFilesAreNoTls) {
  EXPECT_FALSE(TlsFiles().any());
  EXPECT_TRUE(CheckTlsFiles({}, /*serves=*/true).ok());
  EXPECT_TRUE(CheckTlsFiles({}, /*serves=*/false).ok());
}

// Of files that are good or bad: tests/cluster/tls_test.cc.
TEST(TlsFilesTest, FlagsThatNeedOthersSayWhich) {
  const auto why = [](const TlsFiles& files, bool serves) {
    const absl::Status status = CheckTlsFiles(files, serves);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(why({.cert = "c.pem"}, true), "--tls-cert needs --tls-key");
  EXPECT_EQ(why({.key = "k.pem"}, false), "--tls-key needs --tls-cert");
  EXPECT_THAT(why({.ca = "ca.pem"}, true),
              HasSubstr("needs --tls-cert and --tls-key; got --tls-ca alone"));
  EXPECT_THAT(why({.server_name = "s"}, true),
              HasSubstr("got --tls-server-name alone"));
  EXPECT_EQ(why({.ca = "/none/ca.pem"}, false),
            "--tls-ca /none/ca.pem: No such file or directory");
  EXPECT_EQ(why({.ca = "/"}, false), "--tls-ca /: Is a directory");
  EXPECT_EQ(why({.ca = "/dev/null"}, false),
            "--tls-ca /dev/null: no PEM certificate");
}

TEST(CheckListenAddressTest, OnlyThisMachineMayDoWithoutTls) {
  for (const char* here : {"127.0.0.1:0", "127.1.2.3:7600", "localhost:1",
                           "[::1]:7600", "unix:/tmp/s"}) {
    EXPECT_TRUE(CheckListenAddress(here, false, false).ok()) << here;
  }
  for (const char* beyond : {"0.0.0.0:0", "[::]:7600", "10.0.0.1:7600",
                             "host.example:7600", ":7600", ""}) {
    const absl::Status status = CheckListenAddress(beyond, false, false);
    EXPECT_THAT(std::string(status.message()), HasSubstr("--insecure"))
        << beyond;
    EXPECT_TRUE(CheckListenAddress(beyond, /*is_encrypted=*/true, false).ok());
    EXPECT_TRUE(CheckListenAddress(beyond, false, /*insecure=*/true).ok());
  }
}

}  // namespace
}  // namespace headwise
