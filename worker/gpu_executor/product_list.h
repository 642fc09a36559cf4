// Matrix products that run together: a launch for each format of weights.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_PRODUCT_LIST_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_PRODUCT_LIST_H_

#include <cstdint>
#include <vector>

#include "worker/backends/cuda/kernel_call.h"
#include "worker/gpu_executor/device_queue.h"

namespace headwise {

// Their arguments lie on the device. None of the products reads what another
// one of the list writes.
using ProductList = std::vector<cuda::ProductsCall>;

inline void RunProducts(const ProductList& list, DeviceQueue& queue) {
  for (const cuda::ProductsCall& call : list) queue.Launch(call);
}

// The device's room for the arguments of at most `max_products` products.
struct ProductRoom {
  MatMulArgs* calls = nullptr;
  int64_t* first_blocks = nullptr;

  static ProductRoom Take(int64_t max_products, Carver* carver);
};

// Makes lists, one after the other, in one room.
class ProductLister {
 public:
  explicit ProductLister(const ProductRoom& room) : room_(room) {}

  // Pointers in `products` are the device's. The list may run after Upload.
  ProductList Add(const std::vector<MatMulArgs>& products);
  // An error stays in the queue.
  void Upload(DeviceQueue& queue) const;

 private:
  const ProductRoom room_;
  std::vector<MatMulArgs> calls_;
  std::vector<int64_t> first_blocks_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_PRODUCT_LIST_H_
