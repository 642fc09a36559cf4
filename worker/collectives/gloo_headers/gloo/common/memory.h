// Stands in for a header that Gloo's headers include and Debian's package
// (libgloo-dev 0.0~git20220518) lacks.
//
// Holds only what gloo/transport/tcp/{context,pair}.h need to be complete: the
// members, hence the layout, are those of Gloo commit 5b14351, with which the
// library was built. Its code keeps weak references from connections to the
// buffers of callers in these types; ours never touches them.

#ifndef HEADWISE_WORKER_COLLECTIVES_GLOO_HEADERS_GLOO_COMMON_MEMORY_H_
#define HEADWISE_WORKER_COLLECTIVES_GLOO_HEADERS_GLOO_COMMON_MEMORY_H_

#include <memory>

namespace gloo {

template <typename T>
class NonOwningPtr final {
 private:
  std::shared_ptr<T> ptr_;
};

template <typename T>
class WeakNonOwningPtr final {
 protected:
  std::weak_ptr<T> ptr_;
};

}  // namespace gloo

#endif  // HEADWISE_WORKER_COLLECTIVES_GLOO_HEADERS_GLOO_COMMON_MEMORY_H_
