#include "tests/support/etcd_cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "etcd/rpc.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace headwise {
namespace {

constexpr char kProgram[] = "/usr/bin/etcd";
constexpr absl::Duration kStartTimeout = absl::Seconds(60);
constexpr int kMaxStarts = 3;  // somebody may take a port that was free

// Not taken now; nothing keeps it free.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  HEADWISE_CHECK(
      fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  close(fd);
  return ntohs(address.sin_port);
}

std::string Url(int port) { return absl::StrCat("http://127.0.0.1:", port); }

bool Answers(int port) {
  const auto stub = etcdserverpb::KV::NewStub(grpc::CreateChannel(
      absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
  etcdserverpb::TxnRequest request;
  request.add_success()->mutable_request_range()->set_key("ready");
  etcdserverpb::TxnResponse response;
  return stub->Txn(&context, request, &response).ok();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EtcdCluster>> EtcdCluster::Start(
    size_t num_members) {
  if (access(kProgram, X_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("no ", kProgram,
                     ": it is of Debian's package etcd-server, which "
                     "./test.sh installs"));
  }
  absl::Status status;
  for (int i = 0; i < kMaxStarts; ++i) {
    std::unique_ptr<EtcdCluster> cluster(new EtcdCluster());
    cluster->members_.resize(num_members);
    for (Member& member : cluster->members_) {
      member.client_port = FreePort();
      member.peer_port = FreePort();
    }
    status = cluster->StartMembers();
    if (status.ok()) return cluster;
  }
  return status;
}

absl::Status EtcdCluster::StartMembers() {
  ++generation_;
  for (size_t i = 0; i < members_.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(StartMember(i));
  }
  return AwaitAnswer();
}

absl::Status EtcdCluster::StartMember(size_t index) {
  Member& member = members_[index];
  std::vector<std::string> all;
  for (size_t i = 0; i < members_.size(); ++i) {
    all.push_back(absl::StrCat("m", i, "=", Url(members_[i].peer_port)));
  }
  const std::string name = absl::StrCat("m", index);
  const std::string data = folder_.Path(absl::StrCat(name, ".", generation_));
  HEADWISE_ASSIGN_OR_RETURN(
      member.process,
      ChildProcess::Start(
          {kProgram, "--name", name, "--data-dir", data, "--listen-client-urls",
           Url(member.client_port), "--advertise-client-urls",
           Url(member.client_port), "--listen-peer-urls", Url(member.peer_port),
           "--initial-advertise-peer-urls", Url(member.peer_port),
           "--initial-cluster", absl::StrJoin(all, ","),
           "--initial-cluster-token",
           absl::StrCat("test-", members_[0].peer_port, "-", generation_)},
          data + ".log"));
  return absl::OkStatus();
}

absl::Status EtcdCluster::AwaitAnswer() {
  bool has_ended = false;
  const bool is_ready = WaitUntil(
      [&] {
        bool all_answer = true;
        for (Member& member : members_) {
          has_ended |= !member.process->IsRunning();
          all_answer = all_answer && !has_ended && Answers(member.client_port);
        }
        return all_answer || has_ended;
      },
      kStartTimeout);
  if (is_ready && !has_ended) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("etcd does not answer:\n", Logs()));
}

std::string EtcdCluster::Logs() const {
  std::string logs;
  for (const Member& member : members_) {
    if (member.process != nullptr)
      absl::StrAppend(&logs, member.process->Log());
  }
  return logs;
}

std::string EtcdCluster::endpoints() const {
  return absl::StrJoin(members_, ",",
                       [](std::string* out, const Member& member) {
                         absl::StrAppend(out, "127.0.0.1:", member.client_port);
                       });
}

void EtcdCluster::Signal(int number) {
  for (Member& member : members_) member.process->Signal(number);
}

absl::Status EtcdCluster::Wipe() {
  Signal(SIGKILL);
  for (Member& member : members_) {
    HEADWISE_RETURN_IF_ERROR(member.process->Wait(absl::Seconds(10)).status());
  }
  return StartMembers();
}

}  // namespace headwise
