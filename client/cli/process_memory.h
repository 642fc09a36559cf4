// What this process and this machine have of memory.

#ifndef HEADWISE_CLIENT_CLI_PROCESS_MEMORY_H_
#define HEADWISE_CLIENT_CLI_PROCESS_MEMORY_H_

#include <cstdint>

namespace headwise {

// All in bytes; 0 where the kernel does not say.
int64_t AvailableMemoryBytes();  // of the machine, without swapping
int64_t ResidentBytes();
// The greatest resident size since the start, or since StartPeak.
int64_t PeakResidentBytes();
// Begins the peak anew, at what is resident now. No effect where the kernel
// does not allow it.
void StartPeak();

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PROCESS_MEMORY_H_
