#include "worker/service/worker_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/build_info.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server_builder.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

// A worker has one coordinator; more streams at once are a mistake or an
// attack.
constexpr int kMaxStreamsPerConnection = 32;
// What a coordinator may send ahead of what was read, of one call.
constexpr int kLookaheadBytes = 4 << 20;
constexpr size_t kMaxBufferBytes = 512 << 20;
constexpr int kMaxGrpcThreads = 16;

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxWorkerMessageBytes);
  builder.SetMaxSendMessageSize(kMaxWorkerMessageBytes);
  // gRPC unpacks a message before it looks how large it has become.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Measuring the link costs a ping for each message read, and a step is short.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
                             kLookaheadBytes);
  // A coordinator that vanished without a word is found within 4 s.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  grpc::ResourceQuota quota("headwise-worker");
  quota.Resize(kMaxBufferBytes);
  quota.SetMaxThreads(kMaxGrpcThreads);
  builder.SetResourceQuota(quota);
}

}  // namespace

void WriteOwnBuild(worker::v1::WorkerInfo* info) {
  const BuildInfo& own = OwnBuild();
  info->set_version(own.version);
  info->set_oldest_protocol(own.protocols.oldest);
  info->set_newest_protocol(own.protocols.newest);
  info->set_numerics(own.numerics);
}

WorkerServer::WorkerServer(WorkerNode& node,
                           std::map<std::string, HealthService::Probe> probes)
    : service_(node, [this] { return info(); }), health_(std::move(probes)) {}

worker::v1::WorkerInfo WorkerServer::info() const {
  absl::MutexLock lock(&mutex_);
  return info_;
}

absl::StatusOr<std::unique_ptr<WorkerServer>> WorkerServer::Start(
    WorkerServerOptions options, WorkerNode& node) {
  if (options.listen.rfind(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", options.listen, " is not host:port"));
  }
  std::unique_ptr<WorkerServer> server(
      new WorkerServer(node, std::move(options.probes)));
  grpc::ServerBuilder builder;
  SetLimits(builder);
  builder.AddListeningPort(
      options.listen, options.security.server_credentials(), &server->port_);
  builder.RegisterService(&server->service_);
  builder.RegisterService(&server->health_);
  for (grpc::Service* service : options.services) {
    builder.RegisterService(service);
  }
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("can't listen on ", options.listen,
                     ": in use, or no address of this machine"));
  }
  if (options.advertise_host.empty()) {
    options.advertise_host =  // with the brackets of IPv6
        options.listen.substr(0, options.listen.rfind(':'));
  }
  options.info.set_address(
      absl::StrCat(options.advertise_host, ":", server->port_));
  WriteOwnBuild(&options.info);
  if (options.info.name().empty()) {
    options.info.set_name(absl::StrCat("worker-", server->port_));
  }
  absl::MutexLock lock(&server->mutex_);
  server->info_ = std::move(options.info);
  return server;
}

WorkerServer::~WorkerServer() {
  if (server_ == nullptr) return;
  health_.Close();
  // No call is worth waiting for: the group is lost with this worker.
  server_->Shutdown(absl::ToChronoTime(absl::Now()));
}

}  // namespace headwise
