#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <mutex>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/random.h"
#include "engenho/datastore/encryption.h"
#include "engenho/pki/aead.h"

namespace engenho::datastore {

namespace {

constexpr std::string_view kMark = "k8s:enc:aesgcm:v1:", kAnyMark = "k8s:enc:";

struct Key {
  std::string name, bytes;
};

Key new_key() { return {"key" + random_name_suffix(8), random_bytes(pki::kAeadKeyBytes)}; }

}  // namespace

struct KeyRing::State {
  std::string path;
  mutable std::mutex mutex;  // all below
  std::vector<Key> keys;
  struct timespec changed{};

  Status load() {
    struct stat have{};
    if (::stat(path.c_str(), &have) != 0) return errno_error(path, errno);
    if ((have.st_mode & 0077) != 0) return bad_request(path + " can be read by others than its owner; make its mode 0600");
    ENGENHO_ASSIGN_OR_RETURN(const std::string text, read_file(path));
    std::vector<Key> read;
    for (std::string_view line : split(text, '\n')) {
      line = trim(line);
      if (line.empty() || line.starts_with("#")) continue;
      const auto parts = split(line, ' ');
      auto decoded = parts.size() == 2 ? base64_decode(parts[1]) : Result<std::string>(err(bad_request("")));
      if (!decoded || decoded->size() != pki::kAeadKeyBytes || parts[0].empty() || parts[0].find(':') != std::string_view::npos)
        return bad_request(path + ": line " + std::to_string(read.size() + 1) + " is not a name and 32 bytes in base64");
      read.push_back({std::string(parts[0]), std::move(*decoded)});
    }
    if (read.empty()) return bad_request(path + " holds no key");
    keys = std::move(read);
    changed = have.st_mtim;
    return {};
  }
  Status save() {
    std::string text;
    for (const Key& key : keys) text += key.name + " " + base64_encode(key.bytes) + "\n";
    ENGENHO_RETURN_IF_ERROR(write_file_atomic(path, text, 0600));
    struct stat have{};
    if (::stat(path.c_str(), &have) == 0) changed = have.st_mtim;
    return {};
  }
  // Another process may have added a key. What cannot be read now was read before.
  void refresh() {
    struct stat have{};
    if (::stat(path.c_str(), &have) != 0 || (have.st_mtim.tv_sec == changed.tv_sec && have.st_mtim.tv_nsec == changed.tv_nsec)) return;
    (void)load();
  }
};

KeyRing::KeyRing(std::unique_ptr<State> state) : state_(std::move(state)) {}
KeyRing::~KeyRing() = default;

Result<std::shared_ptr<KeyRing>> KeyRing::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  if (path_exists(path)) {
    ENGENHO_TRY(state->load());
  } else {
    state->keys.push_back(new_key());
    ENGENHO_TRY(state->save());
  }
  return std::shared_ptr<KeyRing>(new KeyRing(std::move(state)));
}

std::vector<std::string> KeyRing::names() const {
  std::lock_guard lock(state_->mutex);
  std::vector<std::string> names;
  for (const Key& key : state_->keys) names.push_back(key.name);
  return names;
}

Status KeyRing::add_key() {
  std::lock_guard lock(state_->mutex);
  state_->refresh();
  state_->keys.insert(state_->keys.begin(), new_key());
  return state_->save();
}

Status KeyRing::keep(size_t count) {
  std::lock_guard lock(state_->mutex);
  state_->refresh();
  if (state_->keys.size() <= count) return {};
  state_->keys.resize(std::max<size_t>(1, count));
  return state_->save();
}

Result<std::string> KeyRing::encrypt(std::string_view store_key, std::string_view value) {
  Key key;
  {
    std::lock_guard lock(state_->mutex);
    state_->refresh();
    key = state_->keys.front();
  }
  return std::string(kMark) + key.name + ":" + pki::aead_seal(key.bytes, store_key, value);
}

Result<std::string> KeyRing::decrypt(std::string_view store_key, std::string_view value, bool* old) {
  if (old) *old = true;
  if (!value.starts_with(kAnyMark)) return std::string(value);
  const size_t colon = value.find(':', kMark.size());
  if (!value.starts_with(kMark) || colon == std::string_view::npos)
    return err(internal_error("the value of " + std::string(store_key) + " is encrypted in a way that is not known here"));
  const std::string_view name = value.substr(kMark.size(), colon - kMark.size());
  Key key;
  {
    std::lock_guard lock(state_->mutex);
    const auto find = [&] {
      for (size_t i = 0; i < state_->keys.size(); ++i) {
        if (state_->keys[i].name != name) continue;
        key = state_->keys[i];
        if (old) *old = i != 0;
        return true;
      }
      return false;
    };
    if (!find()) {
      state_->refresh();
      if (!find())
        return err(internal_error("the value of " + std::string(store_key) + " is encrypted with the key \"" + std::string(name) + "\", which " +
                                  state_->path + " does not hold"));
    }
  }
  auto plain = pki::aead_open(key.bytes, store_key, value.substr(colon + 1));
  if (!plain) return err(internal_error("the value of " + std::string(store_key) + " was changed, or belongs to another key: it does not decrypt"));
  return std::move(*plain);
}

}  // namespace engenho::datastore
