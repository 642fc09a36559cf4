#include "tests/support/raw_http2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace headwise {
namespace {

// RFC 9113, section 6.
enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
};
constexpr uint8_t kEndStream = 1;  // also: of settings and pings, an answer
constexpr uint8_t kEndHeaders = 4;
constexpr uint16_t kInitialWindowSize = 4;
constexpr size_t kMaxFrameBytes = 16384;

std::string BigEndian(uint64_t value, int num_bytes) {
  std::string bytes;
  for (int i = num_bytes - 1; i >= 0; --i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
  return bytes;
}

uint32_t FromBigEndian(const std::string& bytes, size_t at, size_t num_bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < num_bytes; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  }
  return value;
}

// A header that is not to be indexed; both parts are below 127 bytes.
std::string Literal(const std::string& name, const std::string& value) {
  return absl::StrCat(std::string(1, '\0'), BigEndian(name.size(), 1), name,
                      BigEndian(value.size(), 1), value);
}

}  // namespace

absl::StatusOr<RawHttp2> RawHttp2::Call(const std::string& address,
                                        const std::string& path,
                                        const std::string& encoding) {
  int port = 0;
  if (!absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) {
    return absl::InvalidArgumentError(absl::StrCat("address ", address));
  }
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  RawHttp2 call(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(call.fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
    return absl::UnavailableError(absl::StrCat("can't connect to ", address));
  }
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  send(call.fd_, preface.data(), preface.size(), MSG_NOSIGNAL);
  call.SendFrame(kSettings, 0, 0, "");
  std::string headers = absl::StrCat(
      Literal(":method", "POST"), Literal(":scheme", "http"),
      Literal(":path", path), Literal(":authority", address),
      Literal("te", "trailers"), Literal("content-type", "application/grpc"));
  if (!encoding.empty()) headers += Literal("grpc-encoding", encoding);
  call.SendFrame(kHeaders, kEndHeaders, 1, headers);
  return call;
}

RawHttp2::RawHttp2(RawHttp2&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      connection_window_(other.connection_window_),
      stream_window_(other.stream_window_),
      initial_window_(other.initial_window_),
      headers_(std::move(other.headers_)),
      is_over_(other.is_over_) {}

RawHttp2::~RawHttp2() {
  if (fd_ >= 0) close(fd_);
}

std::string RawHttp2::MessagePrefix(uint32_t length, bool is_compressed) {
  return BigEndian(is_compressed ? 1 : 0, 1) + BigEndian(length, 4);
}

void RawHttp2::SendFrame(uint8_t type, uint8_t flags, uint32_t stream,
                         const std::string& payload) const {
  const std::string frame =
      absl::StrCat(BigEndian(payload.size(), 3), BigEndian(type, 1),
                   BigEndian(flags, 1), BigEndian(stream, 4), payload);
  size_t sent = 0;
  while (sent < frame.size()) {
    const ssize_t count =
        send(fd_, frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return;  // the server has closed; reading says so
    sent += static_cast<size_t>(count);
  }
}

bool RawHttp2::ReadBytes(size_t size, absl::Duration timeout,
                         std::string* bytes) const {
  const absl::Time end = Clock::Monotonic().Now() + timeout;
  bytes->assign(size, '\0');
  size_t have = 0;
  while (have < size) {
    pollfd polled = {fd_, POLLIN, 0};
    const absl::Duration left =
        std::max(end - Clock::Monotonic().Now(), absl::ZeroDuration());
    if (poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) !=
        1) {
      return false;
    }
    const ssize_t count = read(fd_, bytes->data() + have, size - have);
    if (count <= 0) return false;
    have += static_cast<size_t>(count);
  }
  return true;
}

bool RawHttp2::ReadFrame(absl::Duration timeout) {
  std::string head, payload;
  if (is_over_ || !ReadBytes(9, timeout, &head) ||
      !ReadBytes(FromBigEndian(head, 0, 3), absl::Seconds(5), &payload)) {
    return false;
  }
  const auto type = static_cast<uint8_t>(head[3]);
  const auto flags = static_cast<uint8_t>(head[4]);
  const uint32_t stream = FromBigEndian(head, 5, 4);
  switch (type) {
    case kHeaders:
      headers_ += payload;
      break;
    case kReset:
    case kGoAway:
      is_over_ = true;
      break;
    case kSettings:
      if ((flags & kEndStream) != 0) break;
      for (size_t at = 0; at + 6 <= payload.size(); at += 6) {
        if (FromBigEndian(payload, at, 2) != kInitialWindowSize) continue;
        const int64_t size = FromBigEndian(payload, at + 2, 4);
        stream_window_ += size - initial_window_;
        initial_window_ = size;
      }
      SendFrame(kSettings, kEndStream, 0, "");
      break;
    case kPing:
      if ((flags & kEndStream) == 0) SendFrame(kPing, kEndStream, 0, payload);
      break;
    case kWindowUpdate:
      (stream == 0 ? connection_window_ : stream_window_) +=
          FromBigEndian(payload, 0, 4);
      break;
    default:
      break;
  }
  if ((type == kHeaders || type == kData) && (flags & kEndStream) != 0) {
    is_over_ = true;
  }
  return true;
}

int64_t RawHttp2::Send(const std::string& data, bool is_last,
                       absl::Duration timeout) {
  const absl::Time end = Clock::Monotonic().Now() + timeout;
  size_t sent = 0;
  while (sent < data.size() && !is_over_) {
    const int64_t window = std::min(connection_window_, stream_window_);
    if (window <= 0) {
      if (!ReadFrame(end - Clock::Monotonic().Now())) break;
      continue;
    }
    while (ReadFrame(absl::ZeroDuration())) {
    }
    const size_t size = std::min(
        {data.size() - sent, kMaxFrameBytes, static_cast<size_t>(window)});
    const bool ends = is_last && sent + size == data.size();
    SendFrame(kData, ends ? kEndStream : 0, 1, data.substr(sent, size));
    connection_window_ -= static_cast<int64_t>(size);
    stream_window_ -= static_cast<int64_t>(size);
    sent += size;
  }
  return static_cast<int64_t>(sent);
}

std::string RawHttp2::ReadHeaders(absl::Duration timeout) {
  const absl::Time end = Clock::Monotonic().Now() + timeout;
  while (ReadFrame(end - Clock::Monotonic().Now())) {
  }
  return headers_;
}

}  // namespace headwise
