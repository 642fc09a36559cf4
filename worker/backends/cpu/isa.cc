#include "worker/backends/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/packed_layout.h"

namespace headwise {

extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

namespace amx {
void MatMul(const MatMulArgs& args);
}  // namespace amx

namespace {

// Linux gives a process the tile registers on request (arch_prctl).
constexpr int kRequestFeature = 0x1023;  // ARCH_REQ_XCOMP_PERM
constexpr int kTileData = 18;            // XFEATURE_XTILEDATA

// F16C, whose name clang 14 does not know.
bool CpuConvertsHalfFloats() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1) != 0;
}

bool CpuHasInt8Tiles() {
  unsigned a, b, c, d;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool tiles = (d >> 24 & 1) != 0;
  const bool int8 = (d >> 25 & 1) != 0;
  return tiles && int8 &&
         syscall(SYS_arch_prctl, kRequestFeature, kTileData) == 0;
}

// One block of weights of `format` times 17 tokens, so that a tile and what it
// leaves over both run, with tiles against AVX-512.
bool TilesGiveTheSameBits(PackedFormat format) {
  constexpr int64_t kTokens = 17;
  alignas(64) uint8_t group[640];  // scales and minimums behind the quants
  HEADWISE_CHECK(GroupBytes(format, 32) <= int64_t{sizeof(group)});
  for (size_t i = 0; i < sizeof(group); ++i) {
    group[i] = static_cast<uint8_t>(37 * i + 11);
  }
  // The upper byte of each fp16 or fp32 scale: small and finite.
  const int64_t step = HasHalfScales(format) ? 2 : 4;
  const uint8_t upper = HasHalfScales(format) ? 0x2c : 0x3d;
  for (int64_t i = BlockBytes(format) + step - 1; i < int64_t{sizeof(group)};
       i += step) {
    group[i] = upper;
  }
  int8_t q[kTokens * 32];
  float scale[kTokens], scaled_sum[kTokens];
  int32_t half_offset[2 * kTokens] = {};
  for (int64_t i = 0; i < kTokens * 32; ++i) {
    q[i] = static_cast<int8_t>(i * 53 % 255 - 127);
    half_offset[i / 16] -= 128 * q[i];
    scale[i / 32] = scaled_sum[i / 32] = 0.5f + static_cast<float>(i);
  }
  float out[2][kTokens * 16];
  for (int side = 0; side < 2; ++side) {
    MatMulArgs args;
    args.format = format;
    args.weights = group;
    args.group_bytes = sizeof(group);
    args.cols = 32;
    args.last_group = 1;
    args.rows = {q, scale, scaled_sum, half_offset, 32};
    args.num_tokens = kTokens;
    args.out = out[side];
    args.out_stride = 16;
    (side == 0 ? kAvx512Kernels.matmul : amx::MatMul)(args);
  }
  return std::memcmp(out[0], out[1], sizeof(out[0])) == 0;
}

// A machine whose tiles differ must not use them.
bool TilesGiveTheSameBits() {
  return TilesGiveTheSameBits(PackedFormat::kInt4Half) &&
         TilesGiveTheSameBits(PackedFormat::kInt4Float) &&
         TilesGiveTheSameBits(PackedFormat::kInt8Half) &&
         TilesGiveTheSameBits(PackedFormat::kInt8Float);
}

Kernels MakeAmxKernels() {
  Kernels table = kAvx512Kernels;
  table.isa = Isa::kAmx;
  table.matmul = amx::MatMul;
  return table;
}

std::vector<Isa> Detect() {
  std::vector<Isa> isas;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !CpuConvertsHalfFloats()) {
    return isas;
  }
  isas.push_back(Isa::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    isas.push_back(Isa::kAvx512);
    if (CpuHasInt8Tiles() && TilesGiveTheSameBits()) isas.push_back(Isa::kAmx);
  }
  return isas;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

const std::vector<Isa>& IsasOfThisMachine() {
  static const std::vector<Isa>* const isas = new std::vector<Isa>(Detect());
  return *isas;
}

absl::StatusOr<Isa> ParseIsa(const std::string& text) {
  const std::vector<Isa>& present = IsasOfThisMachine();
  if (present.empty()) {
    return absl::FailedPreconditionError(
        "this CPU lacks AVX2, FMA or F16C, the least that Headwise needs");
  }
  if (text == "best") return present.back();
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (text != IsaName(isa)) continue;
    for (Isa have : present) {
      if (have == isa) return isa;
    }
    return absl::FailedPreconditionError(
        absl::StrCat("isa ", text, ": this machine has only up to ",
                     IsaName(present.back())));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("isa '", text, "': expected avx2, avx512, amx or best"));
}

const Kernels& KernelsFor(Isa isa) {
  static const Kernels* const amx_kernels = new Kernels(MakeAmxKernels());
  switch (isa) {
    case Isa::kAvx2:
      return kAvx2Kernels;
    case Isa::kAvx512:
      return kAvx512Kernels;
    case Isa::kAmx:
      return *amx_kernels;
  }
  return kAvx2Kernels;
}

}  // namespace headwise
