#include "tests/support/wall_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

std::atomic<int64_t>* MapNew(const std::string& path) {
  const int fd =
      open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  HEADWISE_CHECK(fd >= 0);
  HEADWISE_CHECK(ftruncate(fd, sizeof(int64_t)) == 0);
  void* const bytes =
      mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  HEADWISE_CHECK(bytes != MAP_FAILED);
  return static_cast<std::atomic<int64_t>*>(bytes);
}

}  // namespace

WallClock::WallClock(const std::string& path)
    : path_(path), shift_(MapNew(path)) {}

WallClock::~WallClock() { munmap(shift_, sizeof(int64_t)); }

std::vector<std::string> WallClock::prefix() const {
  return {"/usr/bin/env",
          absl::StrCat("LD_PRELOAD=", HEADWISE_WALL_CLOCK_SHIFT),
          absl::StrCat("HEADWISE_WALL_CLOCK=", path_),
          // It need not come first for what is shifted here.
          "ASAN_OPTIONS=verify_asan_link_order=0"};
}

void WallClock::Shift(absl::Duration shift) {
  *shift_ = absl::ToInt64Nanoseconds(shift);
}

}  // namespace headwise
