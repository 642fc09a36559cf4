// What the simulation asks for, and what must become of the asking.

#include <iterator>

#include "gtest/gtest.h"
#include "model/head_plan/kv_forecast.h"
#include "model/head_plan/rotary_reach.h"
#include "model/head_plan/test_head_plans.h"
#include "server/scheduler/scheduler_simulation.h"

namespace headwise {
namespace {

// One layer of two units, of two heads each; 64 bytes for a position of one.
constexpr KvGeometry kSimulatedKv = {
    .num_layers = 1, .num_kv_heads = 2, .heads_per_kv_head = 2, .head_dim = 16};
constexpr int64_t kSimulatedBlock = 64 * 64;

}  // namespace

EngineOptions SchedulerSimulation::RandomOptions() {
  return {.max_step_tokens = 1 + Below(40),
          .max_running_sequences = 1 + Below(8),
          .max_queued_requests = 1 + Below(6),
          .prefill_chunk = 1 + Below(20),
          .max_background_rows = 1 + Below(20),
          .rebuild_wait = absl::Milliseconds(1 + Below(400)),
          .kv = kSimulatedKv,
          .kv_capacity = {.unit_rank = {0, 1},
                          .rank_bytes = {kSimulatedBlock + Below(25'000),
                                         kSimulatedBlock + Below(25'000)}},
          .max_context_len = 30 + Below(300)};
}

std::shared_ptr<const HeadPlan> SchedulerSimulation::RandomPlan() {
  static constexpr PolicyKind kKinds[] = {
      PolicyKind::kFull,  PolicyKind::kStreaming, PolicyKind::kStreaming,
      PolicyKind::kRazor, PolicyKind::kLongHeads, PolicyKind::kQuest};
  if (Below(3) == 0) return nullptr;
  HeadPlan plan = FullPlan(1, 4, 2);
  // A few that come again, and more than are kept at once.
  plan.heads[0].output_scale = static_cast<float>(Below(2) * Below(40));
  for (UnitPolicy& unit : plan.units) {
    unit.kind = kKinds[Below(6)];
    if (Below(8) == 0) unit.kv_type = PlanKvType::kInt8;
    if (unit.kind == PolicyKind::kLongHeads ||
        unit.kind == PolicyKind::kQuest) {
      unit.chunk_len = 64;
      unit.num_chunks = 3;
    } else if (unit.kind != PolicyKind::kFull) {
      unit.num_sinks = Below(3) * 32;
      unit.window = 1 + Below(40);
      unit.full_prompt = unit.kind != PolicyKind::kRazor || Below(2) == 0;
    }
  }
  EXPECT_TRUE(CheckHeadPlan(plan).ok()) << CheckHeadPlan(plan);
  return std::make_shared<const HeadPlan>(plan);
}

EngineRequest SchedulerSimulation::RandomRequest() {
  EngineRequest request;
  request.kind = static_cast<WorkKind>(Below(5) % 4);  // kGenerate more often
  for (int64_t i = 1 + Below(120); i > 0; --i) {
    request.prompt.push_back(static_cast<int32_t>(Below(50)));
  }
  request.max_new_tokens = 1 + Below(20);
  request.sampling.seed = Below(3);
  request.hash_logits = Below(2) == 0;
  if (Below(2) == 0) request.stop_tokens = {3, 14, 15, 92, 65, 35, 89};
  if (Below(5) == 0) request.deadline = now_ + absl::Milliseconds(Below(200));
  request.may_evict = Below(2) == 0;
  request.is_background = request.kind != WorkKind::kPrefix && Below(3) == 0;
  request.plan = RandomPlan();
  if (request.plan == nullptr) request.probe.argmax = Below(4) == 0;
  return request;
}

// Of one that is held, or was, or never.
void SchedulerSimulation::MakeFork(Record& record) {
  if (records_.empty()) return;
  auto chosen = records_.begin();
  std::advance(chosen, Below(static_cast<int64_t>(records_.size())));
  if (!held_.empty() && Below(4) > 0) {
    auto held = held_.begin();
    std::advance(held, Below(static_cast<int64_t>(held_.size())));
    chosen = records_.find(*held);
  }
  const auto& [id, prefix] = *chosen;
  record.request.fork_from = id;
  if (Below(2) == 0) record.request.plan = prefix.request.plan;
  if (record.request.plan != nullptr) record.request.probe = {};
  record.prefix.tokens = prefix.prefix.tokens;
  record.prefix.tokens.insert(record.prefix.tokens.end(),
                              prefix.request.prompt.begin(),
                              prefix.request.prompt.end());
  record.prefix.tag = TagUnder(prefix.prefix.tag, prefix.request.plan.get());
}

// What Submit must answer, as far as the model of the workers does not decide
// it: of a fork only that it may be refused.
absl::Status SchedulerSimulation::ExpectedRefusal(const Record& record) const {
  const EngineRequest& request = record.request;
  if (HasGivenUp()) return absl::UnavailableError("");
  if (request.fork_from != 0) {
    return held_.contains(request.fork_from) ? absl::OkStatus()
                                             : absl::NotFoundError("");
  }
  const auto prompt_len = static_cast<int64_t>(request.prompt.size());
  const int64_t length =
      prompt_len +
      (request.kind == WorkKind::kGenerate ? request.max_new_tokens : 0);
  if (length >
      (request.plan == nullptr
           ? options_.max_context_len
           : LongestContext(*request.plan, options_.max_context_len))) {
    return absl::OutOfRangeError("");
  }
  const KvForecast forecast =
      ForecastKv(request.plan == nullptr ? FullPlan(1, 4, 2) : *request.plan,
                 {.head_dim = kSimulatedKv.head_dim,
                  .context_len = length,
                  .prompt_len = prompt_len,
                  .unit_rank = capacity_.unit_rank});
  for (size_t rank = 0; rank < 2; ++rank) {
    if (forecast.ranks[rank].reserved > capacity_.rank_bytes[rank]) {
      return absl::OutOfRangeError("");
    }
  }
  return absl::OkStatus();
}

void SchedulerSimulation::SubmitOne() {
  Record record;
  record.request = RandomRequest();
  if (Below(3) == 0) MakeFork(record);
  record.expected = ExpectedAnswerOf(record.request, record.prefix);
  // It was begun elsewhere: its sink is to hear the rest.
  const auto answer_len = static_cast<int64_t>(record.expected.tokens.size());
  const auto order = static_cast<int64_t>(records_.size());
  if (answer_len > 1 && record.request.probe.empty() && order % 3 == 0) {
    const int64_t num_received = 1 + order % (answer_len - 1);
    record.tokens.assign(record.expected.tokens.begin(),
                         record.expected.tokens.begin() + num_received);
    record.request.received = record.tokens;
    record.replay_rows =
        static_cast<int64_t>(record.request.prompt.size()) + num_received - 1;
  }
  record.submitted = now_;
  if (Below(4) == 0) record.stop_after = 1 + Below(8);
  absl::Status expected = ExpectedRefusal(record);
  if (expected.ok() &&
      scheduler_.stats().waiting >= options_.max_queued_requests) {
    expected = absl::ResourceExhaustedError("");
  }
  const absl::StatusOr<uint64_t> id = scheduler_.Submit(record.request, now_);
  const bool may_not_fit =
      record.request.fork_from != 0 &&
      (absl::IsOutOfRange(id.status()) || absl::IsInvalidArgument(id.status()));
  const bool may_be_late = record.request.deadline != absl::InfiniteFuture() &&
                           (absl::IsDeadlineExceeded(id.status()) ||
                            absl::IsResourceExhausted(id.status()));
  // A prefix that failed when it was run again is no longer held.
  const bool may_be_gone =
      record.request.fork_from != 0 && failures_executed_ > 0 &&
      (absl::IsNotFound(id.status()) || absl::IsDataLoss(id.status()));
  const bool may_be_too_many =
      record.request.is_background && absl::IsResourceExhausted(id.status());
  if (!may_not_fit && !may_be_late && !may_be_gone && !may_be_too_many) {
    ASSERT_EQ(id.status().code(), expected.code()) << id.status();
  }
  if (!id.ok()) return;
  EXPECT_TRUE(records_.emplace(*id, std::move(record)).second);
}

// As a session is held that was read from its coordinator's books.
void SchedulerSimulation::HoldTokens() {
  Record record;
  record.request = RandomRequest();
  record.request.kind = WorkKind::kPrefix;
  record.request.may_evict = true;
  record.request.deadline = absl::InfiniteFuture();
  record.request.probe = {};
  const auto length = static_cast<int64_t>(record.request.prompt.size());
  record.num_prefilled = record.replay_rows = length;
  record.finished = absl::OkStatus();
  const uint64_t id = scheduler_.HoldTokens(
      record.request.prompt, record.request.plan, record.request.tenant);
  records_.emplace(id, std::move(record));
  held_.insert(id);
}

}  // namespace headwise
