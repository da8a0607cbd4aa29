#include "state_recovery.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/base/random.h"

namespace engenho::pangea {

Result<StateId> state_id(std::string_view document) {
  if (trim(document).empty()) return StateId{};
  auto parsed = json::parse(document);
  if (!parsed) return err(internal_error("the state is no JSON document"));
  const json::Value* serial = parsed->get("serial");
  return StateId{static_cast<uint64_t>(serial ? serial->int_or(0) : 0), std::string(parsed->str_at({"lineage"}))};
}

Result<std::string> recover_state(const std::string& directory, magma::StateStore& state) {
  const std::string file = directory + "/" + kUnsavedState;
  if (!path_exists(file)) return std::string();
  ENGENHO_ASSIGN(std::string document, read_file(file));
  ENGENHO_ASSIGN(StateId saved, state_id(document));
  ENGENHO_ASSIGN(const std::string stored, state.read());
  ENGENHO_ASSIGN(const StateId now, state_id(stored));
  if (stored == document) {
    unlink(file.c_str());
    return std::string();
  }
  if (now.lineage.empty() && saved.lineage.empty()) {
    // Cut off before the first state was stored: it has no name yet.
    ENGENHO_ASSIGN(json::Value first, json::parse(document));
    saved = {std::max<uint64_t>(saved.serial, 1), random_uuid()};
    first["serial"] = static_cast<int64_t>(saved.serial);
    first["lineage"] = saved.lineage;
    document = json::dump_pretty(first) + "\n";
  }
  const std::string which = "a state that an earlier run could not store (serial " + std::to_string(saved.serial) + ")";
  if (!now.lineage.empty() && (now.lineage != saved.lineage || saved.serial <= now.serial)) {
    const std::string aside = "unsaved-" + std::to_string(saved.serial) + "-" + hex_encode(random_bytes(4)) + ".json";
    if (rename(file.c_str(), (directory + "/" + aside).c_str()) != 0) return err(errno_error("rename " + file, errno));
    return which + " does not follow the stored one (serial " + std::to_string(now.serial) + "); it is kept as " + aside;
  }
  magma::LockInfo info;
  info.operation = "recover";
  ENGENHO_ASSIGN(const uint64_t token, state.lock(info));
  const Status written = state.write(document, now.serial, now.lineage, token);
  const Status unlocked = state.unlock(token);
  ENGENHO_TRY(written);
  unlink(file.c_str());
  ENGENHO_TRY(unlocked);
  return which + " was recovered";
}

}  // namespace engenho::pangea
