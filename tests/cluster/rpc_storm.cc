#include "tests/cluster/rpc_storm.h"

#include "absl/time/clock.h"
#include "base/check.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace headwise {
namespace {

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

// One operation is pending at any time: its kind is `next`.
struct RpcStorm::Running {
  enum class Next { kStart, kWrite, kWritesDone, kRead, kFinish };

  Call call;
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
  Next next = Next::kStart;
  size_t num_written = 0;
  grpc::ByteBuffer answer;
  std::string first_answer;
  bool has_answer = false;
  grpc::Status status;

  void Write() {
    next = Next::kWrite;
    stream->Write(BufferOf(call.messages[num_written++]), this);
  }
  void Read() {
    next = Next::kRead;
    answer.Clear();
    stream->Read(&answer, this);
  }
  void Finish() {
    next = Next::kFinish;
    stream->Finish(&status, this);
  }
};

RpcStorm::RpcStorm(std::shared_ptr<grpc::Channel> channel, int max_in_flight,
                   OnEnd on_end)
    : channel_(std::move(channel)),
      stub_(channel_),
      max_in_flight_(max_in_flight),
      on_end_(std::move(on_end)) {}

RpcStorm::~RpcStorm() {
  Finish();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void RpcStorm::Send(Call call) {
  while (running_.size() >= static_cast<size_t>(max_in_flight_)) Advance();
  auto running = std::make_unique<Running>();
  running->call = std::move(call);
  for (const auto& [key, value] : running->call.metadata) {
    running->context.AddMetadata(key, value);
  }
  running->context.set_deadline(
      absl::ToChronoTime(absl::Now() + running->call.timeout));
  running->stream =
      stub_.PrepareCall(&running->context, running->call.method, &queue_);
  running->stream->StartCall(running.get());
  Running* const key = running.get();
  running_[key] = std::move(running);
}

void RpcStorm::Finish() {
  while (!running_.empty()) Advance();
}

void RpcStorm::Advance() {
  void* tag = nullptr;
  bool ok = false;
  HEADWISE_CHECK(queue_.Next(&tag, &ok));
  auto& running = *static_cast<Running*>(tag);
  using Next = Running::Next;
  switch (running.next) {
    case Next::kStart:
    case Next::kWrite:
      if (!ok) return running.Finish();
      if (running.num_written < running.call.messages.size()) {
        return running.Write();
      }
      running.next = Next::kWritesDone;
      return running.stream->WritesDone(&running);
    case Next::kWritesDone:
      return running.Read();
    case Next::kRead:
      if (!ok) return running.Finish();
      if (!running.has_answer) running.first_answer = BytesOf(running.answer);
      running.has_answer = true;
      return running.Read();
    case Next::kFinish: {
      const auto ended = running_.extract(&running);
      on_end_(running.call, running.status, running.first_answer);
    }
  }
}

}  // namespace headwise
