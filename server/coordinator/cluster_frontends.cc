#include "server/coordinator/cluster_frontends.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "server/dispatch/worker_link.h"
#include "spdlog/spdlog.h"

namespace headwise {

std::function<void(const StepSample&)> ClusterFrontends::on_sample() {
  return [this](const StepSample& sample) {
    ServerFrontends* frontends = published_;
    if (frontends == nullptr) return;
    frontends->step_observer().OnWorkerStep(
        {.worker = sample.worker,
         .group = GroupChoiceName(sample.group),
         .compute_seconds = sample.timing.compute_seconds,
         .wait_seconds = sample.timing.wait_seconds,
         .transfer_seconds = sample.timing.transfer_seconds,
         .collective_bytes = sample.timing.collective_bytes,
         .num_collectives = sample.timing.num_collectives});
  };
}

std::function<void(const GroupChange&)> ClusterFrontends::on_change() {
  return [this](const GroupChange& change) {
    ServerFrontends* frontends = published_;
    if (frontends == nullptr) return;
    StepObserver& observer = frontends->step_observer();
    if (change.reason.ok() && change.end.has_value()) {
      observer.OnRebuild(*change.end, change.resumed);
    } else if (change.end == GroupEnd::kLost) {
      observer.OnGroupLost(GroupChoiceName(change.group), change.reason);
    }
    frontends->UpdateReadiness();
  };
}

absl::Status ClusterFrontends::Start(const ServerFrontendsOptions& options,
                                     const Model& model, Engine& engine,
                                     const Membership& membership,
                                     std::function<ClusterStatus()> status,
                                     Parts parts) {
  HEADWISE_RETURN_IF_ERROR(OpenText(model));
  state_ = std::make_unique<LiveClusterState>(
      options.model_name, model, options.shape, membership, std::move(status));
  HEADWISE_ASSIGN_OR_RETURN(
      frontends_,
      ServerFrontends::Create(
          options, ServerFrontendsDeps{
                       .engine = engine,
                       .model = model,
                       .tokenizer = *tokenizer_,
                       .chat_template = chat_template_.get(),
                       .cluster = *state_,
                       .attention = parts.attention,
                       .memories = parts.memories,
                       .books = parts.books,
                       .leads = std::move(parts.leads),
                       .extra_services = std::move(parts.extra_services)}));
  published_ = frontends_.get();
  // The group may have come to stand before anybody could hear of it.
  frontends_->UpdateReadiness();
  return absl::OkStatus();
}

absl::Status ClusterFrontends::OpenText(const Model& model) {
  HEADWISE_ASSIGN_OR_RETURN(tokenizer_,
                            Tokenizer::Create(model.tokenizer_data()));
  if (model.chat_template().empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<ChatTemplate>> parsed =
      ChatTemplate::Parse(model.chat_template());
  if (parsed.ok()) {
    chat_template_ = *std::move(parsed);
  } else {
    spdlog::warn("no Chat: the model's template: {}",
                 std::string(parsed.status().message()));
  }
  return absl::OkStatus();
}

void ClusterFrontends::Drain(absl::Duration grace) {
  if (frontends_ != nullptr) frontends_->Drain(grace);
}

void ClusterFrontends::Shutdown(absl::Duration grace) {
  if (frontends_ != nullptr) frontends_->Shutdown(grace);
  published_ = nullptr;
}

}  // namespace headwise
