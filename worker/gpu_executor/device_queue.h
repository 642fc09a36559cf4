// What a GPU executor asks of its device: calls whose first error stays, and
// memory that goes with its owner.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_QUEUE_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_QUEUE_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "worker/backends/cuda/device.h"

namespace headwise {

// Owned memory of a device, which outlives it.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  static absl::StatusOr<DeviceMemory> Allocate(cuda::Device& device,
                                               int64_t num_bytes) {
    DeviceMemory memory;
    absl::StatusOr<uint8_t*> data = device.Allocate(num_bytes);
    if (!data.ok()) return data.status();
    memory.device_ = &device;
    memory.data_ = *data;
    memory.num_bytes_ = num_bytes;
    return memory;
  }
  ~DeviceMemory() {
    if (data_ != nullptr) device_->Free(data_);
  }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    return *this;
  }

  uint8_t* data() const { return data_; }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  cuda::Device* device_ = nullptr;
  uint8_t* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

// Arrays one after the other in one piece of memory. Without memory it counts
// the bytes that they would take.
class Carver {
 public:
  explicit Carver(uint8_t* memory) : memory_(memory) {}

  template <class T>
  T* Take(int64_t count) {
    const int64_t at = (num_bytes_ + 255) / 256 * 256;
    num_bytes_ = at + count * static_cast<int64_t>(sizeof(T));
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  uint8_t* const memory_;
  int64_t num_bytes_ = 0;
};

// Once a call has failed nothing more is asked of the device, and what was read
// from it is worth nothing; status() must be looked at before it is used. Calls
// come from one thread at a time.
class DeviceQueue {
 public:
  explicit DeviceQueue(cuda::Device& device) : device_(device) {}

  cuda::Device& device() { return device_; }
  // Unavailable: the device is of no use any more.
  const absl::Status& status() const { return status_; }

  void Fail(const absl::Status& status) {
    if (!status_.ok() || status.ok()) return;
    status_ = absl::UnavailableError(
        absl::StrCat("the device has failed: ", status.message()));
  }

  template <class T>
  void CopyIn(T* to, const T* from, int64_t count) {
    if (!status_.ok() || count == 0) return;
    Fail(device_.CopyIn(Bytes(to), from, count * kSize<T>));
  }
  template <class T>
  void CopyOut(T* to, const T* from, int64_t count) {
    if (!status_.ok() || count == 0) return;
    Fail(device_.CopyOut(to, Bytes(from), count * kSize<T>));
  }
  template <class T>
  void Copy(T* to, const T* from, int64_t count) {
    if (!status_.ok() || count == 0) return;
    Fail(device_.Copy(Bytes(to), Bytes(from), count * kSize<T>));
  }
  template <class T>
  void Zero(T* to, int64_t count) {
    if (!status_.ok() || count == 0) return;
    Fail(device_.Zero(Bytes(to), count * kSize<T>));
  }
  void Launch(const cuda::KernelCall& call) {
    if (status_.ok()) Fail(device_.Launch(call));
  }
  template <class K>
  void Run(const typename K::Args& args, int64_t num_blocks) {
    Launch(cuda::Call<K>{args, num_blocks});
  }
  template <class K>
  void RunItems(const typename K::Args& args) {
    Launch(cuda::ItemsOf<K>(args));
  }

 private:
  template <class T>
  static constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  template <class T>
  static uint8_t* Bytes(T* p) {
    return reinterpret_cast<uint8_t*>(p);
  }
  template <class T>
  static const uint8_t* Bytes(const T* p) {
    return reinterpret_cast<const uint8_t*>(p);
  }

  cuda::Device& device_;
  absl::Status status_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_DEVICE_QUEUE_H_
