#include "server/election/etcd_election.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace headwise {
namespace {

constexpr int kReconnectMs = 500;
constexpr int kMaxMessageBytes = 1 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A member that is back is found within a lease.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(),
                                   arguments);
}

void AddRange(const std::string& key, etcdserverpb::TxnRequest* request) {
  request->add_success()->mutable_request_range()->set_key(key);
}

void AddPut(const std::string& key, const std::string& value, int64_t lease_id,
            etcdserverpb::TxnRequest* request) {
  etcdserverpb::PutRequest& put =
      *request->add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(value);
  put.set_lease(lease_id);
}

// That the key is not there, or was not written since.
void AddCompare(const std::string& key, int64_t mod_revision,
                etcdserverpb::TxnRequest* request) {
  etcdserverpb::Compare& compare = *request->add_compare();
  compare.set_result(etcdserverpb::Compare::EQUAL);
  compare.set_target(etcdserverpb::Compare::MOD);
  compare.set_key(key);
  compare.set_mod_revision(mod_revision);
}

}  // namespace

EtcdElection::EtcdElection(EtcdElectionOptions options)
    : options_(std::move(options)),
      leader_key_(absl::StrCat("/headwise/", options_.cluster, "/leader")),
      epoch_key_(absl::StrCat("/headwise/", options_.cluster, "/epoch")) {
  for (const std::string& endpoint : options_.endpoints) {
    channels_.push_back(MakeChannel(endpoint));
  }
}

// `call` asks a stub; after an error another member is asked the next time.
template <typename Stub, typename Call>
absl::Status EtcdElection::Ask(Call call) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + options_.call_timeout));
  const auto stub = Stub::NewStub(channels_[endpoint_]);
  const grpc::Status status = call(*stub, &context);
  if (status.ok()) return absl::OkStatus();
  const std::string& asked = options_.endpoints[endpoint_];
  endpoint_ = (endpoint_ + 1) % channels_.size();
  return absl::Status(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED
                          ? absl::StatusCode::kDeadlineExceeded
                          : absl::StatusCode::kUnavailable,
                      absl::StrCat("etcd at ", asked, ": ",
                                   absl::CHexEscape(status.error_message())));
}

absl::StatusOr<EtcdElection::Seen> EtcdElection::Look() {
  etcdserverpb::TxnRequest request;
  AddRange(leader_key_, &request);
  AddRange(epoch_key_, &request);
  etcdserverpb::TxnResponse response;
  HEADWISE_RETURN_IF_ERROR(
      Ask<etcdserverpb::KV>([&](auto& stub, grpc::ClientContext* context) {
        return stub.Txn(context, request, &response);
      }));
  if (response.responses_size() != 2) {
    return absl::DataLossError(absl::StrCat(
        "etcd answered ", response.responses_size(), " of 2 questions"));
  }
  Seen seen;
  for (const auto& kv : response.responses(0).response_range().kvs()) {
    seen.leader = kv.value();
  }
  for (const auto& kv : response.responses(1).response_range().kvs()) {
    seen.epoch_revision = kv.mod_revision();
    if (absl::SimpleAtoi(kv.value(), &seen.epoch)) continue;
    return absl::DataLossError(absl::StrCat(
        "etcd key ", epoch_key_, " is \"",
        absl::CHexEscape(kv.value().substr(0, 64)), "\", must be a number"));
  }
  return seen;
}

absl::StatusOr<bool> EtcdElection::Take(const std::string& address,
                                        int64_t lease_id, const Seen& seen,
                                        uint64_t first_epoch) {
  etcdserverpb::TxnRequest request;
  AddCompare(leader_key_, 0, &request);
  AddCompare(epoch_key_, seen.epoch_revision, &request);
  AddPut(leader_key_, address, lease_id, &request);
  AddPut(epoch_key_, absl::StrCat(first_epoch + kEpochsPerLead), 0, &request);
  etcdserverpb::TxnResponse response;
  HEADWISE_RETURN_IF_ERROR(
      Ask<etcdserverpb::KV>([&](auto& stub, grpc::ClientContext* context) {
        return stub.Txn(context, request, &response);
      }));
  return response.succeeded();
}

absl::StatusOr<CampaignResult> EtcdElection::Campaign(
    const std::string& address, uint64_t min_epoch) {
  HEADWISE_ASSIGN_OR_RETURN(const Seen seen, Look());
  if (!seen.leader.empty())
    return CampaignResult{.leader_address = seen.leader};
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_ttl(absl::ToInt64Seconds(options_.lease));
  etcdserverpb::LeaseGrantResponse granted;
  HEADWISE_RETURN_IF_ERROR(
      Ask<etcdserverpb::Lease>([&](auto& stub, grpc::ClientContext* context) {
        return stub.LeaseGrant(context, grant, &granted);
      }));
  const uint64_t first_epoch = std::max(seen.epoch, min_epoch);
  const absl::StatusOr<bool> taken =
      Take(address, granted.id(), seen, first_epoch);
  if (taken.value_or(false)) {
    return CampaignResult{.won = true,
                          .lease_id = granted.id(),
                          .lease = absl::Seconds(granted.ttl()),
                          .first_epoch = first_epoch};
  }
  // Perhaps it was taken, and only the answer is lost: then it goes with this.
  Resign(granted.id()).IgnoreError();
  if (!taken.ok()) return taken.status();
  return absl::UnavailableError("another coordinator was faster");
}

absl::StatusOr<absl::Duration> EtcdElection::Renew(int64_t lease_id) {
  etcdserverpb::LeaseKeepAliveResponse answer;
  HEADWISE_RETURN_IF_ERROR(
      Ask<etcdserverpb::Lease>([&](auto& stub, grpc::ClientContext* context) {
        const auto stream = stub.LeaseKeepAlive(context);
        etcdserverpb::LeaseKeepAliveRequest request;
        request.set_id(lease_id);
        stream->Write(request);
        const bool is_answered = stream->Read(&answer);
        context->TryCancel();  // etcd's end of it lasts as long as ours
        const grpc::Status status = stream->Finish();
        return is_answered ? grpc::Status::OK : status;
      }));
  return absl::Seconds(answer.ttl());
}

absl::Status EtcdElection::Resign(int64_t lease_id) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease_id);
  etcdserverpb::LeaseRevokeResponse response;
  return Ask<etcdserverpb::Lease>(
      [&](auto& stub, grpc::ClientContext* context) {
        return stub.LeaseRevoke(context, request, &response);
      });
}

}  // namespace headwise
