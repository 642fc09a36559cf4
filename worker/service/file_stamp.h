// Tells whether files have been replaced.

#ifndef HEADWISE_WORKER_SERVICE_FILE_STAMP_H_
#define HEADWISE_WORKER_SERVICE_FILE_STAMP_H_

#include <string>

namespace headwise {

// Changes when a file of the model at `path` is replaced or written to: device,
// inode, size and times of the file; of safetensors, of all such and JSON files
// of the folder. Empty if there is no such path.
std::string FileStamp(const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_FILE_STAMP_H_
