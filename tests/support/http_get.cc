#include "tests/support/http_get.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

constexpr timeval kPatience = {.tv_sec = 30, .tv_usec = 0};

// All that the server sends until it closes, as 1.0 asks it to.
std::string Exchange(int fd, int port, const std::string& request) {
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0 ||
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request.size())) {
    return std::strerror(errno);
  }
  std::string answer, piece(1 << 16, '\0');
  ssize_t count = 0;
  while ((count = read(fd, piece.data(), piece.size())) > 0) {
    answer.append(piece, 0, static_cast<size_t>(count));
  }
  return answer;
}

}  // namespace

absl::StatusOr<std::string> HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::string answer = Exchange(
      fd, port,
      absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: localhost\r\n\r\n"));
  close(fd);
  const size_t end = answer.find("\r\n\r\n");
  const absl::string_view line = absl::string_view(answer).substr(0, 12);
  if (end == std::string::npos || !absl::EndsWith(line, " 200")) {
    return absl::UnavailableError(absl::StrCat("GET ", path, " of port ", port,
                                               ": ", answer.substr(0, 200)));
  }
  return answer.substr(end + 4);
}

}  // namespace headwise
