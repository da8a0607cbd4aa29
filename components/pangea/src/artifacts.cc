#include "artifacts.h"

#include <filesystem>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

namespace engenho::pangea {

namespace {
// First line of an artifact: the digest of what it was made from, then that of its content.
std::string head_of(const std::string& digest, std::string_view content) { return digest + " " + sha256_hex(content) + "\n"; }
}  // namespace

Result<std::string> Artifacts::workspace(const std::string& uid) const {
  const std::string dir = path(uid, "workspace");
  ENGENHO_TRY(make_dirs(dir, 0700));
  return dir;
}

Status Artifacts::put(const std::string& uid, const std::string& kind, const std::string& digest, std::string_view content) const {
  ENGENHO_RETURN_IF_ERROR(make_dirs(root_ + "/templates/" + uid, 0700));
  return write_file_atomic(path(uid, kind), head_of(digest, content) + std::string(content), 0600);
}

std::optional<std::string> Artifacts::get(const std::string& uid, const std::string& kind, const std::string& digest) const {
  auto text = read_file(path(uid, kind));
  if (!text) return {};
  const size_t end = text->find('\n');
  if (end == std::string::npos) return {};
  const std::string content = text->substr(end + 1);
  if (text->substr(0, end + 1) != head_of(digest, content)) return {};
  return content;
}

void Artifacts::drop(const std::string& uid, const std::string& kind) const {
  std::error_code ignored;
  std::filesystem::remove(path(uid, kind), ignored);
}

void Artifacts::remove(const std::string& uid) const {
  if (uid.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(root_ + "/templates/" + uid, ignored);
}

Result<std::string> Artifacts::local_state(const std::string& pangea_namespace, const std::string& ns, const std::string& name) const {
  const std::string dir = root_ + "/states/" + pangea_namespace + "/" + ns + "/" + name;
  ENGENHO_TRY(make_dirs(dir, 0700));
  return dir + "/terraform.tfstate";
}

}  // namespace engenho::pangea
