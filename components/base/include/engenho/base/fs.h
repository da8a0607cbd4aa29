// Files, as the rest needs them: whole, atomic, with a mode.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "engenho/base/status.h"

namespace engenho {

Result<std::string> read_file(const std::string& path);
// Writes beside it, syncs and renames, so that a reader sees the old or the new content and a crash leaves one of them.
Status write_file_atomic(const std::string& path, std::string_view content, mode_t mode);
Status make_dirs(const std::string& path, mode_t mode = 0755);  // like mkdir -p
bool path_exists(const std::string& path);

}  // namespace engenho
