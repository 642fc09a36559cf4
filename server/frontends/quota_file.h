// Reads what tenants may have from a file.

#ifndef HEADWISE_SERVER_FRONTENDS_QUOTA_FILE_H_
#define HEADWISE_SERVER_FRONTENDS_QUOTA_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/scheduler/tenant_quotas.h"

namespace headwise {

// JSON such as
//   {"others": {"running": 8, "waiting": 64},
//    "tenants": {"batch": {"kv_bytes": 1000000000, "tokens_per_second": 200,
//                          "burst_tokens": 2000}}}
// What is not there has no limit. InvalidArgument names what is wrong.
absl::StatusOr<TenantQuotas> ParseQuotas(absl::string_view json);

// Of the file at `path`, at most 1 MiB; NotFound if it can't be read. An empty
// path: no limits.
absl::StatusOr<TenantQuotas> ReadQuotaFile(const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_QUOTA_FILE_H_
