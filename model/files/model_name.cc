#include "model/files/model_name.h"

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace headwise {

std::string ModelNameOf(const std::string& path) {
  absl::string_view name = path;
  while (name.size() > 1 && name.back() == '/') name.remove_suffix(1);
  name = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  for (const char* suffix : {".gguf", ".safetensors"}) {
    if (absl::ConsumeSuffix(&name, suffix)) break;
  }
  return name.empty() ? "model" : std::string(name);
}

}  // namespace headwise
