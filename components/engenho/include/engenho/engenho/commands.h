// The commands of the executable. Each returns the process's exit code: 0 good, 1 failed, 2 wrong usage.
#pragma once

#include <string>
#include <vector>

namespace engenho {

using Arguments = std::vector<std::string>;

int run_command(const Arguments& arguments);   // arguments[0]: the program's name
int server_command(const Arguments& arguments);
int datastore_command(const Arguments& arguments);
int encryption_command(const Arguments& arguments);
int snapshot_command(const Arguments& arguments);
int transcode_command(const Arguments& arguments);
int check_command(const Arguments& arguments);
int reset_command(const Arguments& arguments);
int magma_command(const Arguments& arguments);
int pangea_command(const Arguments& arguments);
int pangea_eval_worker_command(const Arguments& arguments);

}  // namespace engenho
