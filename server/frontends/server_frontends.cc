#include "server/frontends/server_frontends.h"

#include <chrono>
#include <map>
#include <mutex>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/operator_server.h"
#include "base/process_collector.h"
#include "base/pulse_collector.h"
#include "base/status_macros.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "model/head_plan/head_plan_check.h"
#include "proto/health_service.h"
#include "proto/timer_pulse.h"
#include "server/frontends/admin_service.h"
#include "server/frontends/attention_collector.h"
#include "server/frontends/attention_service.h"
#include "server/frontends/booked_sessions.h"
#include "server/frontends/calibration_service.h"
#include "server/frontends/health_collector.h"
#include "server/frontends/inference_service.h"
#include "server/frontends/neural_memory_collector.h"
#include "server/frontends/neural_memory_service.h"
#include "server/frontends/plan_collector.h"
#include "server/frontends/plans_service.h"
#include "server/frontends/selection_service.h"
#include "server/frontends/server_health.h"
#include "server/frontends/server_metrics.h"
#include "server/frontends/sessions_service.h"

namespace headwise {
namespace {

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// A client may ping this often without being sent away.
constexpr int kMinPingIntervalMs = 5'000;
// What a client may send ahead of what was read, of one call.
constexpr int kLookaheadBytes = 256 << 10;
// Of all calls together that have not been read; then gRPC ends some. It holds
// a message until its end, however long it says it is, before it is refused.
constexpr size_t kMaxBufferBytes = 512 << 20;
constexpr size_t kMaxModelNameBytes = 128;

absl::Status CheckOptions(const ServerFrontendsOptions& options) {
  if (options.model_name.empty() ||
      options.model_name.size() > kMaxModelNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("model_name has ", options.model_name.size(),
                     " bytes; must have 1 to ", kMaxModelNameBytes));
  }
  if (options.max_request_bytes <= 0 || options.max_concurrent_streams <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_request_bytes is ", options.max_request_bytes,
        " and max_concurrent_streams is ", options.max_concurrent_streams,
        "; both must be positive"));
  }
  return ParseKvType(options.kv_type).status();
}

ServedModel MakeServedModel(const ServerFrontendsOptions& options,
                            const ServerFrontendsDeps& deps) {
  ServedModel model;
  model.name = options.model_name;
  model.model = &deps.model;
  model.tokenizer = &deps.tokenizer;
  model.chat_template = deps.chat_template;
  model.kv_type = options.kv_type;
  model.shape = options.shape;
  model.end_tokens = EndTokensOf(deps.tokenizer);
  return model;
}

class ServerFrontendsImpl final : public ServerFrontends {
 public:
  ServerFrontendsImpl(const ServerFrontendsOptions& options,
                      const ServerFrontendsDeps& deps)
      : options_(options),
        model_(MakeServedModel(options, deps)),
        engine_(deps.engine),
        cluster_(deps.cluster),
        leads_(deps.leads),
        plans_(deps.model.hyperparameters(),
               ParseKvType(options.kv_type).value_or(KvType::kFp16)),
        digest_(deps.model, options.model_sha256),
        metrics_(model_.name, deps.engine, deps.cluster),
        frontend_{.engine = deps.engine,
                  .model = model_,
                  .cluster = deps.cluster,
                  .plans = plans_,
                  .digest = digest_,
                  .metrics = metrics_,
                  .open_calls = open_calls_,
                  .clock = deps.clock,
                  .max_call_time = options.max_call_time},
        booked_sessions_(deps.books == nullptr
                             ? nullptr
                             : std::make_unique<BookedSessions>(*deps.books)),
        prompt_sessions_(deps.engine, deps.clock),
        inference_(frontend_, prompt_sessions_),
        sessions_service_(frontend_, prompt_sessions_,
                          options.upload_run_tokens),
        admin_(frontend_),
        plans_service_(frontend_),
        calibration_(frontend_),
        selection_(frontend_),
        attention_(MakeAttention(deps)),
        memory_(MakeMemory(deps)),
        health_service_(HealthProbes()),
        extra_services_(deps.extra_services) {}

  // Null unless sessions are served.
  std::unique_ptr<AttentionService> MakeAttention(
      const ServerFrontendsDeps& deps) {
    if (deps.attention == nullptr) return nullptr;
    attention_collector_ =
        std::make_shared<AttentionCollector>(*deps.attention);
    return std::make_unique<AttentionService>(frontend_, *deps.attention);
  }
  // Null unless memories are served.
  std::unique_ptr<NeuralMemoryService> MakeMemory(
      const ServerFrontendsDeps& deps) {
    if (deps.memories == nullptr) return nullptr;
    memory_collector_ = std::make_shared<NeuralMemoryCollector>(*deps.memories);
    return std::make_unique<NeuralMemoryService>(frontend_, *deps.memories);
  }

  ~ServerFrontendsImpl() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Start() {
    HEADWISE_RETURN_IF_ERROR(SetDefaultPlan());
    HEADWISE_RETURN_IF_ERROR(RestoreSessions());
    HEADWISE_RETURN_IF_ERROR(selection_.Start(options_.selection));
    HEADWISE_RETURN_IF_ERROR(StartMetrics());
    HEADWISE_RETURN_IF_ERROR(StartServer());
    UpdateReadiness();
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  int metrics_port() const override { return metrics_port_; }

  std::shared_ptr<grpc::Channel> InProcessChannel() override {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return server_->InProcessChannel(arguments);
  }

  void UpdateReadiness() override {
    health_.Startup().IgnoreError();  // remembers that a group has stood
    health_service_.Refresh();
  }

  StepObserver& step_observer() override { return metrics_; }

  void Drain(absl::Duration grace) override {
    TurnRed();
    selection_.Stop();
    if (open_calls_.AwaitNone(grace)) return;
    engine_.Close(absl::UnavailableError("the server is shutting down"));
  }

  void Shutdown(absl::Duration grace) override {
    {
      absl::MutexLock lock(&mutex_);
      if (stopped_) return;
      stopped_ = true;
    }
    TurnRed();
    selection_.Stop();
    health_service_.Close();  // the server waits for watches
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::now() +
                        absl::ToChronoNanoseconds(grace));
      server_->Wait();
    }
    open_calls_.AwaitNone();
    operator_server_.reset();
  }

 private:
  absl::Status SetDefaultPlan() {
    if (options_.default_plan == nullptr) return absl::OkStatus();
    HEADWISE_RETURN_IF_ERROR(
        CheckPlanFits(*options_.default_plan, model_.model->hyperparameters(),
                      options_.model_sha256.empty() ? model_.model->Sha256()
                                                    : options_.model_sha256));
    HEADWISE_ASSIGN_OR_RETURN(const StoredPlan plan,
                              plans_.Put(*options_.default_plan));
    return plans_.SetDefault(plan.hash).status();
  }

  absl::Status RestoreSessions() {
    if (booked_sessions_ == nullptr) return absl::OkStatus();
    prompt_sessions_.UseBooks(booked_sessions_.get());
    return booked_sessions_->RestoreTo(prompt_sessions_, plans_,
                                       model_.tokenizer->vocab_size());
  }

  // For good: later changes of readiness have no effect on it.
  void TurnRed() {
    open_calls_.Close();
    inference_.StopLingering();
    health_service_.Refresh();
  }

  std::map<std::string, HealthService::Probe> HealthProbes() const {
    std::map<std::string, HealthService::Probe> probes;
    const auto add = [&](const std::string& name) {
      probes[name] = [this] { return health_.Ready(); };
    };
    add(v1::Inference::service_full_name());
    add(v1::Admin::service_full_name());
    add(v1::Calibration::service_full_name());
    add(v1::Plans::service_full_name());
    add(v1::Sessions::service_full_name());
    add(v1::Selection::service_full_name());
    if (attention_ != nullptr) add(v1::Attention::service_full_name());
    if (memory_ != nullptr) add(v1::NeuralMemory::service_full_name());
    add(model_.name);
    probes[""] = [this] { return health_.Serving(); };
    probes[kLeaderHealth] = [this] {
      absl::Status serving = health_.Serving();
      return serving.ok() && leads_ ? leads_() : serving;
    };
    return probes;
  }

  absl::Status StartMetrics() {
    if (options_.metrics_address.empty()) return absl::OkStatus();
    OperatorServerOptions options;
    options.address = options_.metrics_address;
    options.collectables = metrics_.collectables();
    options.collectables.push_back(
        std::make_shared<HealthCollector>(cluster_, open_calls_, leads_));
    options.collectables.push_back(std::make_shared<ProcessCollector>());
    options.collectables.push_back(std::make_shared<PulseCollector>());
    options.collectables.push_back(plan_collector_);
    options.collectables.push_back(selection_.metrics());
    if (attention_collector_ != nullptr) {
      options.collectables.push_back(attention_collector_);
    }
    if (memory_collector_ != nullptr) {
      options.collectables.push_back(memory_collector_);
    }
    options.startup = [this] {
      return ProbeAnswer{health_.Startup(), health_.Detail()};
    };
    options.live = [this] { return ProbeAnswer{health_.Live(), ""}; };
    options.ready = [this] {
      return ProbeAnswer{health_.Ready(), health_.Detail()};
    };
    HEADWISE_ASSIGN_OR_RETURN(operator_server_, OperatorServer::Start(options));
    metrics_port_ = operator_server_->port();
    return absl::OkStatus();
  }

  absl::Status StartServer() {
    const bool listens = !options_.listen_address.empty();
    if (listens) EnableReflection();
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(options_.max_request_bytes);
    builder.SetMaxSendMessageSize(-1);
    builder.SetResourceQuota(
        grpc::ResourceQuota("headwise").Resize(kMaxBufferBytes));
    // gRPC unpacks a message before it looks how large it has become: 16 MiB
    // may be 16 GiB.
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                               options_.max_concurrent_streams);
    // Measuring the link costs a ping for each message read: 9 % of a stream's
    // tokens per second on two cores.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
                               kLookaheadBytes);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                               kKeepaliveTimeoutMs);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
        kMinPingIntervalMs);
    // A second server on the same port would take half of our clients.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (listens) {
      builder.AddListeningPort(options_.listen_address,
                               options_.security.server_credentials(), &port_);
    }
    builder.RegisterService(&inference_);
    builder.RegisterService(&admin_);
    builder.RegisterService(&plans_service_);
    builder.RegisterService(&calibration_);
    builder.RegisterService(&sessions_service_);
    builder.RegisterService(&selection_);
    if (attention_ != nullptr) builder.RegisterService(attention_.get());
    if (memory_ != nullptr) builder.RegisterService(memory_.get());
    builder.RegisterService(&health_service_);
    for (grpc::Service* service : extra_services_) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || (listens && port_ == 0)) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on \"", options_.listen_address, "\""));
    }
    return absl::OkStatus();
  }

  // A setting of the process in this version of gRPC.
  static void EnableReflection() {
    static std::once_flag once;
    std::call_once(once, [] {
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
  }

  const ServerFrontendsOptions options_;
  const ServedModel model_;
  Engine& engine_;
  const ClusterState& cluster_;
  const std::function<absl::Status()> leads_;  // empty: it does
  PlanStore plans_;
  ModelDigest digest_;
  ServerMetrics metrics_;
  OpenCalls open_calls_;
  const ServerHealth health_{cluster_, open_calls_};
  TimerPulse timer_pulse_;
  const FrontendContext frontend_;
  const std::unique_ptr<BookedSessions> booked_sessions_;  // null: no books
  PromptSessions prompt_sessions_;
  InferenceService inference_;
  SessionsService sessions_service_;
  AdminService admin_;
  PlansService plans_service_;
  CalibrationService calibration_;
  SelectionService selection_;
  const std::shared_ptr<PlanCollector> plan_collector_ =
      std::make_shared<PlanCollector>(plans_);
  std::shared_ptr<AttentionCollector> attention_collector_;
  std::unique_ptr<AttentionService> attention_;
  std::shared_ptr<NeuralMemoryCollector> memory_collector_;
  std::unique_ptr<NeuralMemoryService> memory_;
  HealthService health_service_;
  const std::vector<grpc::Service*> extra_services_;
  std::unique_ptr<OperatorServer> operator_server_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  int metrics_port_ = 0;

  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ServerFrontends>> ServerFrontends::Create(
    const ServerFrontendsOptions& options, const ServerFrontendsDeps& deps) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options));
  auto frontends = std::make_unique<ServerFrontendsImpl>(options, deps);
  HEADWISE_RETURN_IF_ERROR(frontends->Start());
  return frontends;
}

}  // namespace headwise
