// Messages that lie about their length or unpack to more than they are: what
// they cost the server that gets them.

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/raw_http2.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);
// As gRPC writes them: the length of the value, then the value.
constexpr char kUnimplemented[] = "grpc-status\x02\x31\x32";
constexpr char kResourceExhausted[] = "grpc-status\x01\x38";
constexpr int64_t kMaxBufferBytes = 512 << 20;  // server_frontends.cc
constexpr char kGenerate[] = "/headwise.v1.Inference/Generate";

// The most memory that a process has had.
int64_t PeakBytes(const ChildProcess& process) {
  return MemoryBytes(process, "VmHWM");
}

// So many zeros as gzip packs them, a thousandth of that.
std::string PackedZeros(int64_t num_bytes) {
  z_stream stream = {};
  constexpr int kGzip = 15 + 16;  // the format, in zlib's terms
  EXPECT_EQ(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 9,
                         Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string zeros(1 << 20, '\0'), packed, piece(1 << 16, '\0');
  for (int64_t left = num_bytes; left > 0;) {
    stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
    const int64_t now = std::min<int64_t>(left, int64_t{1} << 20);
    stream.avail_in = static_cast<uInt>(now);
    const int flush = now == left ? Z_FINISH : Z_NO_FLUSH;
    do {
      stream.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_out = static_cast<uInt>(piece.size());
      deflate(&stream, flush);
      packed.append(piece, 0, piece.size() - stream.avail_out);
    } while (stream.avail_out == 0);
    left -= now;
  }
  deflateEnd(&stream);
  return packed;
}

// A gibibyte, as a message of a mebibyte.
const std::string& Bomb() {
  static const auto* const bomb = new std::string(PackedZeros(1 << 30));
  return *bomb;
}

class HostileBytesTest : public ServedCluster {
 protected:
  void Serve() {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    // With one arena of malloc: what one of several has free can't be used by
    // threads of another, and would be counted as held.
    StartServer(1, {.prefix = {"/usr/bin/env", "MALLOC_ARENA_MAX=1"}});
    ASSERT_FALSE(HasFatalFailure());
    StartWorker("w0");
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
    AskUndisturbed(Request(20));
    before_ = PeakBytes(*coordinator_);
  }

  // And has not become larger by more than a few messages of the largest size
  // that it takes.
  void ExpectItServesAndIsNotLarger() {
    EXPECT_LT(PeakBytes(*coordinator_) - before_, 96 << 20);
    ExpectItServes();
  }
  void ExpectItServes() {
    ASSERT_TRUE(coordinator_->IsRunning()) << Logs();
    AskUntilWhole(Request(20), {});
    EXPECT_THAT(history_.CheckTokens(fault_free_), testing::IsEmpty());
  }

  int64_t before_ = 0;
};

// gRPC reads a message to its end before it refuses it, so what counts is that
// all who lie together cost no more than the buffers' limit.
TEST_F(HostileBytesTest, LengthsOfThreeGibibytesCostBoundedMemory) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  const std::string much(64 << 20, 'x');
  std::vector<RawHttp2> liars;
  int64_t sent = 0;
  for (int i = 0; i < 4; ++i) {
    auto call = RawHttp2::Call(address_, kGenerate);
    ASSERT_TRUE(call.ok()) << call.status();
    call->Send(RawHttp2::MessagePrefix(3u << 30, false), false, kLong);
    for (int j = 0; j < 5; ++j) {
      sent += call->Send(much, false, absl::Seconds(5));
    }
    liars.push_back(*std::move(call));
  }
  EXPECT_LT(PeakBytes(*coordinator_) - before_, kMaxBufferBytes + (96 << 20))
      << sent;
  liars.clear();
  ExpectItServes();
}

TEST_F(HostileBytesTest, AMessageThatIsTooLargeIsRefusedWithTheLimit) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  auto call = RawHttp2::Call(address_, kGenerate);
  ASSERT_TRUE(call.ok()) << call.status();
  const uint32_t length = (16u << 20) + 1;
  call->Send(RawHttp2::MessagePrefix(length, false) + std::string(length, 'x'),
             true, kLong);
  EXPECT_THAT(call->ReadHeaders(kLong),
              AllOf(HasSubstr(kResourceExhausted),
                    HasSubstr("larger than max (16777217 vs. 16777216)")));
  ExpectItServes();
}

TEST_F(HostileBytesTest, AMessageThatUnpacksToAGibibyteIsRefused) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  const std::string bomb = Bomb();
  ASSERT_LT(bomb.size(), 16u << 20) << "else its length alone is refused";
  for (int i = 0; i < 3; ++i) {
    auto call = RawHttp2::Call(address_, kGenerate, "gzip");
    ASSERT_TRUE(call.ok()) << call.status();
    call->Send(
        RawHttp2::MessagePrefix(static_cast<uint32_t>(bomb.size()), true) +
            bomb,
        true, kLong);
    EXPECT_THAT(call->ReadHeaders(kLong), HasSubstr(kUnimplemented))
        << "packed messages are refused unopened";
  }
  ExpectItServesAndIsNotLarger();
}

// A worker's port is not for everybody, and must not fall either.
TEST_F(HostileBytesTest, AWorkerRefusesThemToo) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  const std::string worker = WaitForWorkerAddress("w0");
  const int64_t before = PeakBytes(*workers_[0]);
  const std::string bomb = Bomb();

  auto call =
      RawHttp2::Call(worker, "/headwise.worker.v1.Worker/Prepare", "gzip");
  ASSERT_TRUE(call.ok()) << call.status();
  call->Send(
      RawHttp2::MessagePrefix(static_cast<uint32_t>(bomb.size()), true) + bomb,
      true, kLong);
  EXPECT_THAT(call->ReadHeaders(kLong), HasSubstr(kUnimplemented));
  EXPECT_LT(PeakBytes(*workers_[0]) - before, 96 << 20);
  ASSERT_TRUE(workers_[0]->IsRunning()) << Logs();
  AskUntilWhole(Request(20), {});
}

// Pieces of messages, streams that end early, frames of nothing.
TEST_F(HostileBytesTest, BrokenMessagesEndTheirCallAlone) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  const std::vector<std::string> broken = {
      "",
      RawHttp2::MessagePrefix(10, false),
      RawHttp2::MessagePrefix(10, false) + "abc",
      RawHttp2::MessagePrefix(3, false) + "\xff\xff\xff",
      RawHttp2::MessagePrefix(3, true) + "abc",
      "\x07\x00\x00\x00\x01x",
      std::string(100, '\0'),
  };
  for (const std::string& bytes : broken) {
    auto call = RawHttp2::Call(address_, kGenerate);
    ASSERT_TRUE(call.ok()) << call.status();
    call->Send(bytes + RawHttp2::MessagePrefix(0, false), true, kLong);
    EXPECT_THAT(call->ReadHeaders(kLong), HasSubstr("grpc-status"));
  }
  ExpectItServesAndIsNotLarger();
}

}  // namespace
}  // namespace headwise
