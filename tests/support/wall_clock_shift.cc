// Loaded into a program by LD_PRELOAD: its wall clock is shifted by the number
// in the file that HEADWISE_WALL_CLOCK names. See wall_clock.h.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr int64_t kSecond = 1'000'000'000;  // in nanoseconds

const std::atomic<int64_t>* MapShift() {
  const char* const path = getenv("HEADWISE_WALL_CLOCK");
  const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) _exit(127);
  void* const bytes =
      mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (bytes == MAP_FAILED) _exit(127);
  return static_cast<const std::atomic<int64_t>*>(bytes);
}

int64_t Shift() {
  static const std::atomic<int64_t>* const shift = MapShift();
  return *shift;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) {
    const int64_t shifted = now->tv_sec * kSecond + now->tv_nsec + Shift();
    *now = {.tv_sec = shifted / kSecond, .tv_nsec = shifted % kSecond};
  }
  return static_cast<int>(result);
}

int gettimeofday(timeval* now, void*) noexcept {
  timespec fine;
  const int result = clock_gettime(CLOCK_REALTIME, &fine);
  *now = {.tv_sec = fine.tv_sec, .tv_usec = fine.tv_nsec / 1000};
  return result;
}

time_t time(time_t* out) noexcept {
  timespec fine;
  clock_gettime(CLOCK_REALTIME, &fine);
  if (out != nullptr) *out = fine.tv_sec;
  return fine.tv_sec;
}

}  // extern "C"
