#include "server/neural_memory/neural_memories.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/leases/gather.h"
#include "server/leases/lease_id.h"
#include "server/neural_memory/initial_weights.h"
#include "server/neural_memory/memory_calls.h"
#include "server/neural_memory/memory_rows.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

// A state that a write is about to replace may be gone at a worker before a
// read gets there.
constexpr int kMaxReadAttempts = 4;

absl::Status CheckOffset(int64_t num_written, int64_t offset) {
  const std::string expected =
      absl::StrCat("; expected offset ", num_written, ", got ", offset);
  if (offset > num_written) {
    return absl::OutOfRangeError(
        absl::StrCat("offset: there is a gap before the write", expected));
  }
  if (offset < num_written) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset: tokens from ", offset,
                     " on are written, and not as here", expected));
  }
  return absl::OkStatus();
}

absl::Status CheckNotFrozen(const NeuralMemory& memory) {
  if (!memory.frozen()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the memory is frozen, so nothing is written to it until Unfreeze");
}

// What is kept, and what may be done, when a write went beyond max_norm.
absl::Status ExplainBlowUp(const absl::Status& status, int64_t num_written,
                           int64_t chunk_len) {
  if (!absl::IsOutOfRange(status)) return status;
  std::string message =
      absl::StrCat(status.message(), "; nothing of this write is kept, ",
                   num_written, " tokens are written");
  const int64_t num_open = num_written % chunk_len;
  if (num_open > 0) {
    absl::StrAppend(&message, ", the last ", num_open,
                    " of them in the same chunk: if they are at fault, "
                    "DropOpenTokens drops them and goes back to ",
                    num_written - num_open);
  }
  return absl::OutOfRangeError(message);
}

// Waits for the bytes that each worker has reserved. A worker that has the name
// already has it from another call.
template <typename Explain>
OpenedParts AwaitParts(Gather<int64_t>& answers,
                       std::vector<MemoryWorker>& workers, Explain explain) {
  OpenedParts opened;
  const auto& all = answers.Wait();
  for (size_t i = 0; i < workers.size(); ++i) {
    const absl::Status status = all[i].status();
    if (status.ok()) workers[i].reserved_bytes = *all[i];
    if (!absl::IsAlreadyExists(status)) opened.holders.push_back(workers[i]);
    if (!status.ok() && opened.refused.ok()) {
      opened.refused = explain(workers[i], status);
    }
  }
  return opened;
}

}  // namespace

NeuralMemories::NeuralMemories(NeuralMemoriesOptions options,
                               const Clock& clock)
    : sessions_(std::move(options.sessions)),
      book_({"memory", "memories"}, std::move(options.book), clock) {}

// Heads are equal, so each goes to the worker that would be done first.
std::vector<MemoryWorker> NeuralMemories::ShareOut(int64_t num_heads) {
  const std::shared_ptr<const MembershipView> view = book_.view();
  const std::vector<Member>& members = view->members;
  if (members.empty()) return {};
  std::vector<int64_t> counts(members.size());
  for (int64_t head = 0; head < num_heads; ++head) {
    size_t best = 0;
    for (size_t i = 1; i < members.size(); ++i) {
      if (static_cast<double>(counts[i] + 1) / members[i].info.speed <
          static_cast<double>(counts[best] + 1) / members[best].info.speed) {
        best = i;
      }
    }
    ++counts[best];
  }
  std::vector<Worker> workers;
  int64_t first_head = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (counts[i] == 0) continue;
    workers.push_back({members[i].info.name, members[i].registration_id,
                       book_.LinkTo(members[i]), first_head, counts[i], 0});
    first_head += counts[i];
  }
  return workers;
}

absl::StatusOr<NeuralMemories::Naming> NeuralMemories::NameFor(
    const Caller& caller, const std::string& session_id) {
  if (session_id.empty()) return Naming{NewLeaseId(), nullptr};
  if (sessions_.hold == nullptr) {
    return absl::UnimplementedError(
        "session_id: this server has no attention sessions");
  }
  HEADWISE_RETURN_IF_ERROR(sessions_.hold(caller, session_id).status());
  return Naming{session_id, [lives = sessions_.lives, session_id] {
                  return lives(session_id);
                }};
}

absl::StatusOr<std::shared_ptr<NeuralMemory>> NeuralMemories::OpenHidden(
    const Caller& caller, const MemoryConfig& config,
    const std::string& session_id) {
  HEADWISE_RETURN_IF_ERROR(CheckMemoryConfig(config));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  HEADWISE_ASSIGN_OR_RETURN(const Naming naming, NameFor(caller, session_id));
  if (book_.Has(naming.id)) {
    return absl::AlreadyExistsError(
        absl::StrCat("session_id: the session has a memory"));
  }
  std::vector<Worker> workers = ShareOut(config.num_heads);
  if (workers.empty()) {
    return absl::UnavailableError("there are no workers yet");
  }
  Gather<int64_t> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Open(
        {naming.id, {config.spec, workers[i].first_head, workers[i].num_heads}},
        timeout, answers.Slot(i));
  }
  const OpenedParts opened = AwaitParts(
      answers, workers, [](const Worker& worker, const absl::Status& status) {
        return absl::Status(
            status.code(),
            absl::StrCat("worker ", worker.name, ": ", status.message()));
      });
  auto memory = std::make_shared<NeuralMemory>(
      naming.id, caller.tenant, config, std::move(workers),
      naming.session_lives, clock().Now());
  HEADWISE_RETURN_IF_ERROR(AddOrDrop(memory, /*is_hidden=*/true, opened));
  return memory;
}

absl::Status NeuralMemories::AddOrDrop(
    const std::shared_ptr<NeuralMemory>& memory, bool is_hidden,
    const OpenedParts& opened) {
  absl::Status status = opened.refused;
  if (status.ok()) status = book_.Add(memory, is_hidden);
  if (!status.ok()) book_.DeleteOn(opened.holders, memory->id());
  return status;
}

absl::Status NeuralMemories::Import(const Caller& caller, NeuralMemory& memory,
                                    ImportMemoryRequest request) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  for (const Worker& worker : memory.workers()) {
    if (request.head < worker.first_head ||
        request.head >= worker.first_head + worker.num_heads) {
      continue;
    }
    Gather<Nothing> answer(1);
    worker.link->Import(std::move(request), timeout, answer.Slot(0));
    const absl::Status status = answer.Wait()[0].status();
    // Of another spec: the snapshot is at fault, and nothing has changed.
    if (absl::IsFailedPrecondition(status)) return status;
    return status.ok() ? status : memory.Explain(worker, status);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "head: ", request.head, ", the memory has ", memory.config().num_heads));
}

absl::StatusOr<MemoryInfo> NeuralMemories::Create(
    const Caller& caller, const MemoryConfig& config, const MemoryStart& start,
    const std::string& session_id) {
  HEADWISE_RETURN_IF_ERROR(CheckMemoryConfig(config));
  HEADWISE_RETURN_IF_ERROR(CheckMemoryStart(config, start));
  HEADWISE_ASSIGN_OR_RETURN(const std::shared_ptr<NeuralMemory> memory,
                            OpenHidden(caller, config, session_id));
  const LeaseUse<NeuralMemory> in_use(memory, clock());
  for (int64_t head = 0; head < config.num_heads; ++head) {
    const absl::Status status =
        Import(caller, *memory,
               {memory->id(), head, /*num_tokens=*/0,
                SaveMemoryHead(MemoryHead(
                    config.spec, InitialMemoryWeights(config, start, head)))});
    if (status.ok()) continue;
    Drop(memory);
    return status;
  }
  Publish(memory);
  return memory->info();
}

absl::StatusOr<MemoryUse> NeuralMemories::Use(const Caller& caller,
                                              const std::string& memory_id) {
  HEADWISE_ASSIGN_OR_RETURN(LeaseUse<NeuralMemory> memory,
                            book_.Use(caller, memory_id));
  std::shared_ptr<void> session;
  if (memory->of_session()) {
    HEADWISE_ASSIGN_OR_RETURN(session, sessions_.hold(caller, memory_id));
  }
  return MemoryUse(std::move(memory), std::move(session));
}

absl::StatusOr<MemoryWriteOutcome> NeuralMemories::Write(
    const Caller& caller, const std::string& memory_id,
    const MemoryWrite& write) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  HEADWISE_ASSIGN_OR_RETURN(const MemoryChange change,
                            MemoryChange::Begin(*memory));
  HEADWISE_RETURN_IF_ERROR(CheckNotFrozen(*memory));
  const MemoryConfig& config = memory->config();
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_tokens, TokensOf(config, write));
  const MemoryState state = memory->state();
  if (write.offset != state.num_tokens) {
    HEADWISE_RETURN_IF_ERROR(CheckHash(write));
    if (write.offset < state.num_tokens &&
        memory->HasWrite(write.offset, num_tokens, write.sha256)) {
      return MemoryWriteOutcome{state.num_tokens, true, {}, {}};
    }
    return CheckOffset(state.num_tokens, write.offset);
  }
  absl::StatusOr<MemoryTensors> tensors =
      ReadTensors(config, write, num_tokens);
  if (!tensors.ok()) {
    // Perhaps they are out of range as they were changed on the way.
    HEADWISE_RETURN_IF_ERROR(CheckHash(write));
    return tensors.status();
  }
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  const int64_t next_version = memory->NextVersion();
  WorkersWrite at_work(*memory, state, next_version, *std::move(tensors),
                       timeout);
  // While they write: what they make counts only once we say so.
  const absl::Status hash = CheckHash(write);
  absl::StatusOr<MemoryWriteOutcome> outcome = at_work.Wait();
  if (!hash.ok()) outcome = hash;
  if (!outcome.ok()) {
    ++num_undone_;
    return book_.Outcome(memory_id,
                         ExplainBlowUp(outcome.status(), state.num_tokens,
                                       config.spec.chunk_len));
  }
  memory->Advance({next_version, outcome->num_tokens}, write.offset,
                  write.sha256);
  num_tokens_ += num_tokens;
  surprise_.Add(outcome->surprise);
  return outcome;
}

absl::StatusOr<MemoryDropOutcome> NeuralMemories::DropOpenTokens(
    const Caller& caller, const std::string& memory_id) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  HEADWISE_ASSIGN_OR_RETURN(const MemoryChange change,
                            MemoryChange::Begin(*memory));
  HEADWISE_RETURN_IF_ERROR(CheckNotFrozen(*memory));
  const MemoryState state = memory->state();
  const int64_t num_open = state.num_tokens % memory->config().spec.chunk_len;
  if (num_open == 0) return MemoryDropOutcome{state.num_tokens, 0};
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  const int64_t next_version = memory->NextVersion();
  const absl::Status status =
      DropOpenRowsOverWorkers(*memory, state, next_version, timeout);
  if (!status.ok()) return book_.Outcome(memory_id, status);
  const MemoryState next = {next_version, state.num_tokens - num_open};
  memory->GoBack(next);
  return MemoryDropOutcome{next.num_tokens, num_open};
}

absl::StatusOr<MemoryReadAnswer> NeuralMemories::Read(
    const Caller& caller, const std::string& memory_id,
    const std::string& queries) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  HEADWISE_RETURN_IF_ERROR(memory->lost());
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_queries,
                            QueriesOf(memory->config(), queries));
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<float> floats,
                            ReadQueries(memory->config(), queries));
  for (int attempt = 1;; ++attempt) {
    HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                              TimeoutFor(caller, clock()));
    absl::StatusOr<MemoryReadAnswer> answer =
        ReadOverWorkers(*memory, floats, num_queries, timeout);
    if (answer.ok()) return answer;
    if (absl::IsAborted(answer.status()) && attempt < kMaxReadAttempts) {
      continue;
    }
    return book_.Outcome(memory_id, answer.status());
  }
}

absl::StatusOr<MemoryInfo> NeuralMemories::SetFrozen(
    const Caller& caller, const std::string& memory_id, bool frozen) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  HEADWISE_ASSIGN_OR_RETURN(const MemoryChange change,
                            MemoryChange::Begin(*memory));
  memory->SetFrozen(frozen);
  return memory->info();
}

absl::StatusOr<MemoryInfo> NeuralMemories::Fork(const Caller& caller,
                                                const std::string& memory_id,
                                                const std::string& session_id) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  HEADWISE_ASSIGN_OR_RETURN(const MemoryChange change,
                            MemoryChange::Begin(*memory));
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller, clock()));
  HEADWISE_ASSIGN_OR_RETURN(const Naming naming, NameFor(caller, session_id));
  if (book_.Has(naming.id)) {
    return absl::AlreadyExistsError("session_id: the session has a memory");
  }
  const MemoryState state = memory->state();
  std::vector<Worker> workers = memory->workers();
  Gather<int64_t> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Fork(memory_id, naming.id, state.version, timeout,
                          answers.Slot(i));
  }
  const OpenedParts opened = AwaitParts(
      answers, workers, [&](const Worker& worker, const absl::Status& status) {
        return memory->Explain(worker, status);
      });
  auto fork = std::make_shared<NeuralMemory>(
      naming.id, caller.tenant, memory->config(), std::move(workers),
      naming.session_lives, clock().Now());
  fork->Begin(state.num_tokens, /*frozen=*/false, memory->writes());
  HEADWISE_RETURN_IF_ERROR(AddOrDrop(fork, /*is_hidden=*/false, opened));
  return fork->info();
}

absl::StatusOr<MemoryInfo> NeuralMemories::Get(const Caller& caller,
                                               const std::string& memory_id) {
  HEADWISE_ASSIGN_OR_RETURN(const MemoryUse memory, Use(caller, memory_id));
  return memory->info();
}

std::vector<MemoryInfo> NeuralMemories::List(const Caller& caller) {
  std::vector<MemoryInfo> infos;
  for (const auto& memory : book_.List(caller)) {
    const bool is_over = memory->of_session() && memory->IsOver(clock().Now());
    if (!is_over) infos.push_back(memory->info());
  }
  return infos;
}

absl::Status NeuralMemories::Delete(const Caller& caller,
                                    const std::string& memory_id) {
  return book_.Delete(caller, memory_id);
}

MemoryStats NeuralMemories::stats() const {
  MemoryStats stats;
  stats.held = book_.stats();
  for (const auto& memory : book_.All()) {
    stats.state_bytes += memory->info().state_bytes;
  }
  stats.num_tokens = num_tokens_;
  stats.num_undone = num_undone_;
  stats.surprise = surprise_.counts();
  return stats;
}

}  // namespace headwise
