// Fakes for the tests of this folder: a tiny model, a tokenizer of bytes, an
// engine that follows a script.

#ifndef HEADWISE_SERVER_FRONTENDS_FRONTEND_FAKES_H_
#define HEADWISE_SERVER_FRONTENDS_FRONTEND_FAKES_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "model/chat_template/chat_template.h"
#include "model/files/test_stub_model.h"
#include "model/head_plan/test_head_plans.h"
#include "model/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"
#include "server/frontends/head_map.h"
#include "server/frontends/served_model.h"
#include "server/scheduler/engine_stub.h"

namespace headwise {

class FakeModel final : public StubModel {
 public:
  FakeModel() {
    sha256_ = TestSha256();
    hyper_.name = "tiny";
    hyper_.num_layers = 2;
    hyper_.num_heads = 4;
    hyper_.num_kv_heads = 2;
    hyper_.head_dim = 8;
    hyper_.model_dim = 3;
    hyper_.ffn_dim = 64;
    hyper_.vocab_size = 259;
    hyper_.max_context_len = 32;
  }
};

// Ids 0 to 255 are bytes; 256 is bos, 257 eos, 258 "<|im_end|>".
class FakeTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special) ids.push_back(256);
    while (!text.empty()) {
      if (options.parse_special && absl::StartsWith(text, kEnd)) {
        ids.push_back(258);
        text.remove_prefix(kEnd.size());
        continue;
      }
      ids.push_back(static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
    }
    return ids;
  }
  std::string TokenBytes(int32_t id) const override {
    if (id == 256) return "<s>";
    if (id == 257) return "</s>";
    if (id == 258) return std::string(kEnd);
    return id < 0 || id > 258 ? "" : std::string(1, static_cast<char>(id));
  }
  std::string Decode(absl::Span<const int32_t> ids,
                     bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (!skip_special || !IsSpecial(id)) text += TokenBytes(id);
    }
    return text;
  }
  bool IsEndOfGeneration(int32_t id) const override { return id > 256; }
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  int64_t vocab_size() const override { return 259; }
  int32_t bos_id() const override { return 256; }
  int32_t eos_id() const override { return 257; }

 private:
  static constexpr absl::string_view kEnd = "<|im_end|>";
};

// "role:content|" for each message, or a refusal.
class FakeChatTemplate final : public ChatTemplate {
 public:
  absl::StatusOr<std::string> RenderJson(
      const nlohmann::ordered_json& variables) const override {
    if (!refusal.ok()) return refusal;
    std::string text;
    for (const auto& message : variables["messages"]) {
      text += message["role"].get<std::string>() + ":" +
              message["content"].get<std::string>() + "|";
    }
    return text;
  }

  absl::Status refusal;
};

class FakeCluster final : public ClusterState {
 public:
  FakeCluster() {
    auto map = std::make_shared<HeadMap>();
    map->model = "tiny";
    map->membership_epoch = 7;
    map->world_size = 1;
    map->group_kind = "in-process";
    map->max_context_len = 24;
    HeadMap::Worker worker;
    worker.name = "w0";
    worker.kv_bytes_per_token = 10;
    worker.kv_capacity_bytes = 1000;
    map->workers.push_back(worker);
    map_ = map;
  }
  std::shared_ptr<const HeadMap> head_map() const override {
    absl::MutexLock lock(&mutex_);
    return map_;
  }
  bool ready() const override {
    absl::MutexLock lock(&mutex_);
    return ready_;
  }
  std::string detail() const override { return "1 workers are ready"; }
  std::vector<MissingMember> missing_workers() const override {
    return {{"w1", "at h:1, gone for 3s"}};
  }
  std::map<std::string, int64_t> worker_arrivals() const override {
    return {{"w0", 1}, {"w1", 4}};
  }
  void Set(std::shared_ptr<const HeadMap> map, bool ready) {
    absl::MutexLock lock(&mutex_);
    if (map != nullptr) map_ = std::move(map);
    ready_ = ready;
  }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const HeadMap> map_ ABSL_GUARDED_BY(mutex_);
  bool ready_ ABSL_GUARDED_BY(mutex_) = true;
};

// Runs the script of a request on a thread of its own. The script must end with
// sink.OnFinished.
class FakeEngine final : public EngineStub {
 public:
  struct Call {
    const EngineRequest& request;
    RequestSink& sink;
    std::function<bool()> is_cancelled;
    std::function<void()> wait_for_cancel;
  };
  using Script = std::function<void(const Call&)>;

  ~FakeEngine() override {
    for (std::thread& thread : threads_) thread.join();
  }

  void SetScript(Script script) { script_ = std::move(script); }
  // Submit fails with it.
  void Refuse(absl::Status status) { refusal_ = std::move(status); }

  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<RequestSink> sink) override {
    if (!refusal_.ok()) return refusal_;
    absl::MutexLock lock(&mutex_);
    const uint64_t id = ++last_id_;
    threads_.emplace_back(
        [this, id, request = std::move(request), sink = std::move(sink)] {
          const auto cancelled = [this, id]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return cancelled_.count(id) > 0;
          };
          script_({request, *sink,
                   [&] {
                     absl::MutexLock lock(&mutex_);
                     return cancelled();
                   },
                   [&] {
                     absl::MutexLock lock(&mutex_);
                     mutex_.Await(absl::Condition(&cancelled));
                   }});
        });
    return id;
  }

  void Cancel(uint64_t id) override {
    absl::MutexLock lock(&mutex_);
    cancelled_.insert(id);
  }
  void Close(absl::Status reason) override {
    absl::MutexLock lock(&mutex_);
    closed_ = std::move(reason);
  }
  absl::Status closed() {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }
  // What AskSize answers.
  void SetSizeAnswer(absl::StatusOr<SizeAnswer> answer) {
    size_answer_ = std::move(answer);
  }
  absl::StatusOr<SizeAnswer> AskSize(
      const SizeQuestion& question) const override {
    asked_ = question;
    return size_answer_;
  }
  const SizeQuestion& asked() const { return asked_; }
  EngineStats stats() const override {
    return {.running = 2,
            .waiting = 3,
            .waiting_limit = 1024,
            .kv_bytes_used = {50},
            .kv_bytes_capacity = {1000},
            .parked_bytes = {70},
            .steps_total = 9};
  }

 private:
  Script script_;
  absl::Status refusal_;
  absl::StatusOr<SizeAnswer> size_answer_ = SizeAnswer();
  mutable SizeQuestion asked_;
  absl::Mutex mutex_;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

// A shape that PlanPlacement accepts.
inline ModelShape FakeShape() {
  ModelShape shape;
  shape.num_layers = 2;
  shape.num_units = 2;
  shape.num_mlp_tiles = 8;
  shape.num_vocab_tiles = 1;
  shape.heads_per_kv_head = 2;
  shape.head_dim = 8;
  shape.model_dim = 3;
  shape.unit_weight_bytes = 1000;
  shape.mlp_tile_weight_bytes = 500;
  shape.vocab_tile_weight_bytes = 777;
  shape.kv_bytes_per_unit_position = 32;
  return shape;
}

// The served model that the fakes make together.
struct FakeServed {
  FakeModel model;
  FakeTokenizer tokenizer;
  FakeChatTemplate chat_template;

  ServedModel Served() const {
    ServedModel served;
    served.name = "tiny";
    served.model = &model;
    served.tokenizer = &tokenizer;
    served.chat_template = &chat_template;
    served.kv_type = "fp16";
    served.shape = FakeShape();
    served.end_tokens = EndTokensOf(tokenizer);
    return served;
  }
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_FRONTEND_FAKES_H_
