// Heads as a stranger may send them: what is refused leaves a memory as it was,
// and what is taken can be written to and read.

#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/fake_clock.h"
#include "base/sha256.h"
#include "worker/backends/cpu/isa.h"
#include "worker/memory_parts/memory_fixture.h"
#include "worker/memory_parts/memory_store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headwise;
  if (size == 0) return 0;
  // The first byte says whether the hash is made right: else nothing but hashes
  // would be looked at.
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool repairs_hash = data[0] % 2 == 0;
  if (repairs_hash && bytes.size() >= sizeof(Sha256Digest)) {
    const size_t content = bytes.size() - sizeof(Sha256Digest);
    const Sha256Digest digest =
        Sha256Of({reinterpret_cast<const uint8_t*>(bytes.data()), content});
    bytes.replace(content, digest.size(),
                  reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  static FakeClock* const clock = new FakeClock();
  static ThreadTeam* const team = new ThreadTeam(1, {});
  MemoryStore store({.capacity_bytes = 1 << 20},
                    MemoryKernelsFor(IsasOfThisMachine().back()), *team,
                    *clock);
  MemoryShare share = {TestMemorySpec(), 0, 1};
  share.spec.hidden_dim = 16;
  share.spec.chunk_len = 4;
  HEADWISE_CHECK(store.Open({"m", share}).ok());
  // The token count is the file's own, after seven numbers of the spec.
  int64_t num_tokens = 0;
  if (bytes.size() >= 64) {
    std::memcpy(&num_tokens, bytes.data() + 56, sizeof(num_tokens));
  }
  if (!store.Import({"m", 0, num_tokens, bytes}).ok()) return 0;
  WriteMemoryRequest request = TestMemoryWrite("m", share, 0, 6);
  request.next_version = 1;
  const bool written = store.Write(request).ok();
  HEADWISE_CHECK(
      store.Read({"m", written ? 1 : 0, request.num_rows, request.queries})
          .ok());
  return 0;
}
