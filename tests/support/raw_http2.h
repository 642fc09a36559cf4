// A gRPC call by hand, for bytes that no client library would send.

#ifndef HEADWISE_TESTS_SUPPORT_RAW_HTTP2_H_
#define HEADWISE_TESTS_SUPPORT_RAW_HTTP2_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace headwise {

// One connection with one stream, in the clear. Not thread-safe. It keeps to
// the server's flow control, so that what is sent is what the server takes.
class RawHttp2 {
 public:
  // `address`: 127.0.0.1:port. `encoding`: of grpc-encoding; empty: none.
  static absl::StatusOr<RawHttp2> Call(const std::string& address,
                                       const std::string& path,
                                       const std::string& encoding = "");
  RawHttp2(RawHttp2&& other) noexcept;
  ~RawHttp2();

  // Data of the stream, as much as the server takes within `timeout`; the
  // number of bytes.
  int64_t Send(const std::string& data, bool is_last, absl::Duration timeout);
  // The payloads of all headers that came, until the stream ends or `timeout`
  // has passed: names and values stand in them as they are, since gRPC's
  // servers do not pack them.
  std::string ReadHeaders(absl::Duration timeout);

  // The five bytes before a message.
  static std::string MessagePrefix(uint32_t length, bool is_compressed);

 private:
  explicit RawHttp2(int fd) : fd_(fd) {}
  void SendFrame(uint8_t type, uint8_t flags, uint32_t stream,
                 const std::string& payload) const;
  // False if nothing comes within `timeout`, or nothing more ever.
  bool ReadFrame(absl::Duration timeout);
  bool ReadBytes(size_t size, absl::Duration timeout, std::string* bytes) const;

  int fd_;
  int64_t connection_window_ = 65535;
  int64_t stream_window_ = 65535;
  int64_t initial_window_ = 65535;
  std::string headers_;
  bool is_over_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_RAW_HTTP2_H_
