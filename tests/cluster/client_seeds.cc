#include "tests/cluster/client_seeds.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "grpcpp/client_context.h"
#include "headwise/v1/admin.pb.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "headwise/v1/calibration.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "headwise/v1/plans.pb.h"
#include "headwise/v1/selection.pb.h"
#include "headwise/v1/sessions.pb.h"

namespace headwise {
namespace {

// In these, of two query heads and one KV head of 16.
constexpr size_t kRowBytes = 4 * 16 * sizeof(float);  // 4 positions

constexpr char kSeeds[] = R"(
headwise.v1.Inference.Generate
text: "The capital" options { max_tokens: 3 stop: "x" top_logprobs: 2
  sampling { temperature: 1 top_k: 5 top_p: 0.9 min_p: 0.1 seed: 7 } }
headwise.v1.Inference.Chat
messages { role: "user" content: "Hello" } options { max_tokens: 2 }
headwise.v1.Inference.Score
tokens { ids: [1, 2, 3, 4] } max_tokens: 3
headwise.v1.Inference.Embed
text: "some words" pooling: POOLING_LAST normalize: true
headwise.v1.Inference.Tokenize
text: "some words" add_special: true
headwise.v1.Inference.Detokenize
ids: [1, 2, 3] skip_special: true
headwise.v1.Inference.GetModel
with_sha256: true

headwise.v1.Sessions.Upload
session_id: "session" offset: 0 tokens { ids: [1, 2, 3] }

tokens { ids: [4, 5, 6] }
headwise.v1.Sessions.GetSession
session_id: "session"
headwise.v1.Sessions.ListSessions
headwise.v1.Sessions.Park
session_id: "session"
headwise.v1.Sessions.Resume
session_id: "session"
headwise.v1.Sessions.Snapshot
session_id: "session"
headwise.v1.Sessions.Restore
header { format: 1 model_sha256: "$MODEL" num_tokens: 3 }

tokens { ids: [1, 2, 3] sha256: "$SHA" }
headwise.v1.Sessions.Delete
session_id: "session"

headwise.v1.Attention.Open
num_heads: 2 num_kv_heads: 1 head_dim: 16 max_positions: 512 ttl_seconds: 60
policies { kind: "streaming" num_sinks: 4 window: 64 }
headwise.v1.Attention.Append
session_id: "$ATTENTION" offset: 0 keys: "$ROWS" values: "$ROWS" sha256: "$SHA"
headwise.v1.Attention.Attend
session_id: "$ATTENTION" query_len: 2 queries: "$ROWS" visible_end: [1, 4]
probes { top_keys: 2 segment_bounds: [2, 4] entropy: true max_bytes: 4096 }
headwise.v1.Attention.Fork
session_id: "$ATTENTION"
headwise.v1.Attention.Snapshot
session_id: "$ATTENTION"
headwise.v1.Attention.Restore
header { format: 1 stored_positions: 0
  config { num_heads: 2 num_kv_heads: 1 head_dim: 16 max_positions: 64 } }
headwise.v1.Attention.GetSession
session_id: "$ATTENTION"
headwise.v1.Attention.ListSessions
headwise.v1.Attention.Delete
session_id: "$ATTENTION"

headwise.v1.NeuralMemory.Create
seed: 3 config { spec { num_heads: 1 head_dim: 16 chunk_len: 4 }
  default_gates { theta: 0.1 eta: 0.5 alpha: 0.01 } ttl_seconds: 60 }
headwise.v1.NeuralMemory.Write
memory_id: "$MEMORY" keys: "$ROWS" values: "$ROWS" queries: "$ROWS"
return_surprise: true sha256: "$SHA3"
headwise.v1.NeuralMemory.DropOpenTokens
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.Read
memory_id: "$MEMORY" queries: "$ROWS"
headwise.v1.NeuralMemory.Freeze
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.Unfreeze
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.Fork
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.Snapshot
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.Restore
header { format: 1 state: "$STATE" sha256: "$STATE_SHA" }

piece { head: 0 head_bytes: 16 data: "0123456789abcdef" }
headwise.v1.NeuralMemory.GetMemory
memory_id: "$MEMORY"
headwise.v1.NeuralMemory.ListMemories
headwise.v1.NeuralMemory.Delete
memory_id: "$MEMORY"

headwise.v1.Plans.PutPlan
plan { $PLAN }
headwise.v1.Plans.GetPlan
plan: "$NONE"
headwise.v1.Plans.ListPlans
headwise.v1.Plans.DeletePlan
plan: "$NONE"
headwise.v1.Plans.SetDefaultPlan
plan: "full"
headwise.v1.Plans.ForecastPlan
inline_plan { $PLAN } context_len: 1000

headwise.v1.Calibration.Calibrate
retrieval { lengths: 256 depths: 0.5 needles: 1 check_tests: 0 } seed: 1
headwise.v1.Selection.ScoreDocuments
terms { masked_plan { inline_plan { $PLAN } } scoring { window: 32 } }

documents { id: "a" domain: "web" text: "Some words of a document." }
headwise.v1.Selection.CreateJob
spec { masked_plan { inline_plan { $PLAN } } scoring { window: 32 }
  input { root: "corpus" paths: "a.jsonl" } output: "scores" }
headwise.v1.Selection.GetJob
job_id: "$NONE"
headwise.v1.Selection.WatchJob
job_id: "$NONE" interval_seconds: 0.1
headwise.v1.Selection.ListJobs
headwise.v1.Selection.PauseJob
job_id: "$NONE"
headwise.v1.Selection.ResumeJob
job_id: "$NONE"
headwise.v1.Selection.CancelJob
job_id: "$NONE"
headwise.v1.Selection.TopK
job_id: "$NONE" fraction: 0.5 domains: "web"
headwise.v1.Selection.Quantiles
job_id: "$NONE" quantiles: [0.1, 0.9]

headwise.v1.Admin.GetHeadMap
headwise.v1.Admin.PlanPlacement
workers { name: "a" speed: 2 memory_bytes: 100000000 } workers { speed: 1 }
context_len: 1000
headwise.v1.Admin.CheckCapacity
prompt_tokens: 100 max_tokens: 10
)";

std::string Sha(const std::string& bytes) {
  return absl::CEscape(absl::HexStringToBytes(Sha256Hex(Sha256Of(
      {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}))));
}

// A unary call.
template <typename Stub, typename Request, typename Response>
absl::Status Ask(Stub& stub,
                 grpc::Status (Stub::*method)(grpc::ClientContext*,
                                              const Request&, Response*),
                 const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  const grpc::Status status = (stub.*method)(&context, request, response);
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(Request::descriptor()->full_name(),
                                             ": ", status.error_message()));
}

// One of full units, whose first query head is masked.
std::string PlanText(const v1::Model& model) {
  std::string text = absl::StrCat("version: 1 model_sha256: \"", model.sha256(),
                                  "\" num_layers: ", model.num_layers(),
                                  " num_heads: ", model.num_heads(),
                                  " num_kv_heads: ", model.num_kv_heads());
  for (int64_t i = 0; i < model.num_layers() * model.num_kv_heads(); ++i) {
    absl::StrAppend(&text, " units { kind: POLICY_KIND_FULL }");
  }
  for (int64_t i = 0; i < model.num_layers() * model.num_heads(); ++i) {
    absl::StrAppend(
        &text, i == 0 ? " heads { mask: HEAD_MASK_UNIFORM }" : " heads {}");
  }
  return text;
}

v1::MemorySpec SmallMemory() {
  v1::MemorySpec spec;
  spec.set_num_heads(1);
  spec.set_head_dim(16);
  return spec;
}

absl::StatusOr<SeedNames> Names(const std::shared_ptr<grpc::Channel>& channel) {
  const auto inference = v1::Inference::NewStub(channel);
  v1::Model model;
  v1::GetModelRequest get_model;
  get_model.set_with_sha256(true);
  HEADWISE_RETURN_IF_ERROR(
      Ask(*inference, &v1::Inference::Stub::GetModel, get_model, &model));
  const auto attention = v1::Attention::NewStub(channel);
  v1::AttentionSession session;
  v1::OpenSessionRequest open;
  open.set_num_heads(2);
  open.set_num_kv_heads(1);
  open.set_head_dim(16);
  open.set_max_positions(64);
  HEADWISE_RETURN_IF_ERROR(
      Ask(*attention, &v1::Attention::Stub::Open, open, &session));
  const auto memories = v1::NeuralMemory::NewStub(channel);
  v1::Memory memory;
  v1::CreateMemoryRequest create;
  *create.mutable_config()->mutable_spec() = SmallMemory();
  create.mutable_config()->mutable_default_gates()->set_theta(0.1f);
  HEADWISE_RETURN_IF_ERROR(
      Ask(*memories, &v1::NeuralMemory::Stub::Create, create, &memory));
  v1::MemorySnapshotState state;
  *state.mutable_config()->mutable_spec() = SmallMemory();
  const std::string state_bytes = state.SerializeAsString();
  return SeedNames{{"$ROWS", absl::CEscape(std::string(kRowBytes, '\0'))},
                   {"$SHA3", Sha(std::string(3 * kRowBytes, '\0'))},
                   {"$SHA", Sha(std::string(2 * kRowBytes, '\0'))},
                   {"$PLAN", PlanText(model)},
                   {"$MODEL", model.sha256()},
                   {"$STATE_SHA", Sha(state_bytes)},
                   {"$STATE", absl::CEscape(state_bytes)},
                   {"$ATTENTION", session.session_id()},
                   {"$MEMORY", memory.memory_id()},
                   {"$NONE", std::string(64, '0')}};
}

}  // namespace

absl::StatusOr<std::vector<RpcSeed>> ClientSeeds(
    const std::shared_ptr<grpc::Channel>& channel) {
  HEADWISE_ASSIGN_OR_RETURN(const SeedNames names, Names(channel));
  return ReadRpcSeeds(kSeeds, names,
                      {v1::GenerateRequest::descriptor()->file(),
                       v1::UploadRequest::descriptor()->file(),
                       v1::AttendRequest::descriptor()->file(),
                       v1::CreateMemoryRequest::descriptor()->file(),
                       v1::PutPlanRequest::descriptor()->file(),
                       v1::CalibrateRequest::descriptor()->file(),
                       v1::CreateJobRequest::descriptor()->file(),
                       v1::GetHeadMapRequest::descriptor()->file()});
}

}  // namespace headwise
