#include "worker/gpu_executor/product_list.h"

namespace headwise {

// Each launch has one entry of first_blocks more than it has calls.
ProductRoom ProductRoom::Take(int64_t max_products, Carver* carver) {
  return {carver->Take<MatMulArgs>(max_products),
          carver->Take<int64_t>(2 * max_products)};
}

ProductList ProductLister::Add(const std::vector<MatMulArgs>& products) {
  ProductList list;
  std::vector<bool> is_listed(products.size());
  for (size_t first = 0; first < products.size(); ++first) {
    if (is_listed[first]) continue;
    cuda::ProductsCall& call = list.emplace_back();
    call.format = products[first].format;
    call.args.calls = room_.calls + calls_.size();
    call.args.first_blocks = room_.first_blocks + first_blocks_.size();
    for (size_t i = first; i < products.size(); ++i) {
      if (products[i].format != call.format) continue;
      is_listed[i] = true;
      calls_.push_back(products[i]);
      first_blocks_.push_back(call.num_blocks);
      call.num_blocks += cuda::NumProductBlocks(products[i]);
      ++call.args.num_calls;
    }
    first_blocks_.push_back(call.num_blocks);
  }
  return list;
}

void ProductLister::Upload(DeviceQueue& queue) const {
  queue.CopyIn(room_.calls, calls_.data(), static_cast<int64_t>(calls_.size()));
  queue.CopyIn(room_.first_blocks, first_blocks_.data(),
               static_cast<int64_t>(first_blocks_.size()));
}

}  // namespace headwise
