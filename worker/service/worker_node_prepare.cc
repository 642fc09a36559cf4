// The part of a worker that loads a shard.

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/pulse.h"
#include "base/status_macros.h"
#include "worker/service/file_stamp.h"
#include "worker/service/input_checks.h"
#include "worker/service/worker_node.h"

namespace headwise {
namespace {

absl::StatusOr<std::string> RealPath(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  if (real == nullptr) {
    return absl::NotFoundError(absl::StrCat("no such path: ", path));
  }
  std::string result = real;
  std::free(real);
  return result;
}

}  // namespace

absl::StatusOr<std::string> WorkerNode::ResolvePath(
    const std::string& path) const {
  if (options_.model_root.empty()) return path;
  HEADWISE_ASSIGN_OR_RETURN(const std::string root,
                            RealPath(options_.model_root));
  const std::string full =
      path.front() == '/' ? path : absl::StrCat(root, "/", path);
  absl::StatusOr<std::string> real = RealPath(full);
  const bool inside =
      real.ok() && (*real == root ||
                    absl::StartsWith(*real, root == "/" ? root : root + "/"));
  // The same answer for what is outside and for what does not exist, so that
  // nobody can ask which files there are.
  if (!inside) {
    return absl::NotFoundError(absl::StrCat(
        "no model ", path, " below this worker's --model-root ", root));
  }
  return real;
}

absl::Status WorkerNode::LoadModel(const WorkerConfig& config,
                                   const Progress& progress) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string path,
                            ResolvePath(config.model_path));
  // Before opening: a file that is replaced meanwhile is opened again.
  const std::string stamp = FileStamp(path);
  if (model_ == nullptr || model_path_ != path || model_stamp_ != stamp) {
    held_.Clear();
    model_ = nullptr;
    HEADWISE_ASSIGN_OR_RETURN(model_, options_.open_model(path));
    model_path_ = path;
    model_stamp_ = stamp;
  }
  if (config.model_sha256.empty()) return absl::OkStatus();
  if (!model_->ReadSha256(progress)) {
    return absl::CancelledError("the model is not wanted any more");
  }
  if (absl::AsciiStrToLower(config.model_sha256) != model_->Sha256()) {
    return absl::FailedPreconditionError(
        absl::StrCat("model ", path, " has SHA-256 ", model_->Sha256(),
                     ", expected ", config.model_sha256));
  }
  return absl::OkStatus();
}

absl::Status WorkerNode::MakeExecutor(const WorkerConfig& config,
                                      const Progress& progress) {
  ExecutorOptions options;
  options.num_threads = options_.num_threads;
  options.isa = options_.isa;
  options.kv_type = config.kv_type;
  options.reduction = config.reduction;
  options.kv_capacity_bytes = config.kv_capacity_bytes;
  options.memory_bytes = options_.memory_bytes;
  options.pin_to_cpus = options_.pin_to_cpus;
  options.park_dir = options_.park_dir;
  options.held = &held_;
  HEADWISE_ASSIGN_OR_RETURN(
      executor_,
      options_.create_executor(*model_, config.shard, options, progress));
  model_->DropPages();
  return absl::OkStatus();
}

// Hashing, if asked for, is the first tenth of the progress.
absl::Status WorkerNode::LoadShard(const WorkerConfig& config,
                                   const Progress& progress) {
  const auto tell = [&](double value) {
    BeatThreadPulse(kLoadAllowance);
    return CheckWanted(config.membership_epoch).ok() &&
           (!progress || progress(value));
  };
  if (!tell(0.0)) return absl::CancelledError("nobody waits for the shard");
  HEADWISE_RETURN_IF_ERROR(
      LoadModel(config, [&](double value) { return tell(0.1 * value); }));
  HEADWISE_RETURN_IF_ERROR(CheckShard(config, model_->hyperparameters()));
  return MakeExecutor(config,
                      [&](double value) { return tell(0.1 + 0.9 * value); });
}

}  // namespace headwise
