// What headwise-coordinator is started with.

#ifndef HEADWISE_SERVER_COORDINATOR_COORDINATOR_FLAGS_H_
#define HEADWISE_SERVER_COORDINATOR_COORDINATOR_FLAGS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/program_log.h"
#include "base/tls_files.h"
#include "server/frontends/selection_folders.h"

namespace headwise {

struct CoordinatorFlags {
  std::string listen = "127.0.0.1:0";
  TlsFiles tls;
  bool insecure = false;
  std::string metrics_listen;
  std::string model;
  std::string model_name;
  std::string plan;
  std::string workers;
  size_t min_workers = 1;
  std::string kv_type = "fp16";
  int64_t kv_bytes = 0;
  int64_t tenant_memory_bytes = 0;
  int ranks_per_context = 1;
  std::string group = "auto";
  std::string reduction = "exact";
  int64_t prefill_chunk = 512;
  int64_t max_step_tokens = 512;
  int64_t max_sequences = 64;
  double step_timeout = 3.0;
  double rebuild_wait = 30.0;
  double grow_patience = 10.0;
  double drain = 5.0;
  std::string quotas;  // a file
  std::string etcd;    // host:port,... of its members; empty: none
  std::string cluster = "headwise";
  std::string advertise;
  int lease_seconds = 5;
  std::string books;
  SelectionFolders selection;
  std::vector<std::string> input_roots;  // NAME=FOLDER
  std::string port_file;
  ProgramLogOptions log;
};

// For --help.
const char* CoordinatorDescription();
void AddCoordinatorFlags(CLI::App& app, CoordinatorFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_SERVER_COORDINATOR_COORDINATOR_FLAGS_H_
