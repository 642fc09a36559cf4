// What a model is called where nobody has named it.

#ifndef HEADWISE_MODEL_FILES_MODEL_NAME_H_
#define HEADWISE_MODEL_FILES_MODEL_NAME_H_

#include <string>

namespace headwise {

// The name under which a model file is served: its name without folder and
// ".gguf" or ".safetensors"; the folder's name for a folder; "model" for "/".
std::string ModelNameOf(const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_MODEL_NAME_H_
