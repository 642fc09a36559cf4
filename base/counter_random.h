// Random numbers that are a function of (key, counter).
//
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC
// 2011), Philox4x32 with 10 rounds.

#ifndef HEADWISE_BASE_COUNTER_RANDOM_H_
#define HEADWISE_BASE_COUNTER_RANDOM_H_

#include <array>
#include <cstdint>

namespace headwise {

// The block of four numbers of (key, counter).
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 2> key,
                                             std::array<uint32_t, 4> counter) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform in [0, 1), a multiple of 2^-53, for the token at `position`.
constexpr double UniformAt(uint64_t seed, int64_t position) {
  const auto at = static_cast<uint64_t>(position);
  const std::array<uint32_t, 4> block = Philox4x32(
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), 0, 0});
  const uint64_t bits = (uint64_t{block[1]} << 32 | block[0]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace headwise

#endif  // HEADWISE_BASE_COUNTER_RANDOM_H_
