#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/pangea/cluster_state.h"
#include "engenho/pangea/receipt.h"
#include "engenho/pki/ed25519.h"
#include "state_lease.h"

namespace engenho::pangea {

namespace core_v1 = k8s::core_v1;
namespace pangea_v1 = k8s::pangea_v1;

namespace {

constexpr const char* kKeySecret = "pangea-receipt-key";
constexpr const char* kKeysConfigMap = "pangea-receipt-keys";
constexpr const char* kKeyFile = "key.pem";
constexpr const char* kTemplateLabel = "pangea.pleme.io/template";

std::string label_of(const std::string& template_name) {
  return template_name.size() <= 63 ? template_name : sha256_hex(template_name).substr(0, 32);
}

}  // namespace

ReceiptStore::ReceiptStore(std::shared_ptr<client::Client> client, ReceiptOptions options) : client_(std::move(client)), options_(options) {}
ReceiptStore::~ReceiptStore() = default;

Result<pki::PrivateKey> ReceiptStore::signing_key() {
  std::lock_guard guard(mutex_);
  if (key_) return key_;
  pki::PrivateKey key;
  auto found = client_->get<core_v1::Secret>(kSystemNamespace, kKeySecret);
  if (!found && found.error().not_found()) {
    ENGENHO_ASSIGN(const pki::PrivateKey fresh, pki::generate_ed25519());
    core_v1::Secret secret;
    secret.metadata.namespace_ = kSystemNamespace;
    secret.metadata.name = kKeySecret;
    secret.type = "pangea.pleme.io/receipt-key";
    secret.immutable = true;
    secret.data[kKeyFile] = fresh.pem();
    found = create_in_system(*client_, secret);
    // Another was faster: its key counts.
    if (!found && found.error().already_exists()) found = client_->get<core_v1::Secret>(kSystemNamespace, kKeySecret);
  }
  if (!found) return err(found.error());
  ENGENHO_ASSIGN(key, pki::PrivateKey::from_pem(found->data[kKeyFile]));
  ENGENHO_TRY(pki::sign_ed25519(key, "") ? Status() : internal_error(std::string("the Secret ") + kKeySecret + " holds no Ed25519 key"));
  // The public half is known before anything is signed with it.
  const std::string file = receipt_key_id(key.public_key()) + ".pem";
  for (int attempt = 0;; ++attempt) {
    auto map = client_->get<core_v1::ConfigMap>(kSystemNamespace, kKeysConfigMap);
    if (!map && !map.error().not_found()) return err(map.error());
    if (map && map->data.contains(file)) break;
    core_v1::ConfigMap next = map ? *map : core_v1::ConfigMap();
    next.metadata.namespace_ = kSystemNamespace;
    next.metadata.name = kKeysConfigMap;
    next.data[file] = key.public_key().pem();
    auto written = map ? client_->update(next) : create_in_system(*client_, next);
    if (written) break;
    if (attempt == 5 || !(written.error().conflict() || written.error().already_exists())) return err(written.error());
  }
  key_ = key;
  return key_;
}

Result<ReceiptKeys> ReceiptStore::keys() {
  ReceiptKeys out;
  auto map = client_->get<core_v1::ConfigMap>(kSystemNamespace, kKeysConfigMap);
  if (!map && map.error().not_found()) return out;
  if (!map) return err(map.error());
  for (const auto& [file, pem] : map->data) {
    auto key = pki::PublicKey::from_pem(pem);
    // By what it is, not by what it is called.
    if (key) out.emplace(receipt_key_id(*key), *key);
  }
  return out;
}

Result<std::optional<pangea_v1::CycleReceipt>> ReceiptStore::find(const std::string& ns, const std::string& name) {
  auto found = client_->get<pangea_v1::CycleReceipt>(ns, name);
  if (!found && found.error().not_found()) return std::optional<pangea_v1::CycleReceipt>();
  if (!found) return err(found.error());
  return std::optional<pangea_v1::CycleReceipt>(std::move(*found));
}

Result<Appended> ReceiptStore::append(pangea_v1::CycleReceiptSpec spec, const ChainEnd& end) {
  const std::string ns = spec.template_.namespace_, template_name = spec.template_.name;
  if (ns.empty() || template_name.empty()) return err(bad_request("a receipt says whose it is: template name and namespace"));
  ENGENHO_ASSIGN(const pki::PrivateKey key, signing_key());
  bound_receipt(spec, options_.entries);
  std::optional<pangea_v1::CycleReceipt> previous;
  if (!end.name.empty()) {
    ENGENHO_ASSIGN(previous, find(ns, end.name));
    if (previous && previous->spec.template_.uid != spec.template_.uid) previous.reset();
  }
  spec.previous_digest = previous ? previous->spec.digest : end.digest.empty() ? std::string(kGenesisDigest) : end.digest;
  spec.cycle = std::max(std::max<int64_t>(spec.cycle, 1), previous ? previous->spec.cycle + 1 : 1);
  for (int attempt = 0; attempt < 64; ++attempt) {
    ENGENHO_TRY(sign_receipt(spec, key));
    pangea_v1::CycleReceipt object;
    object.metadata.namespace_ = ns;
    object.metadata.name = receipt_name(template_name, spec.cycle);
    object.metadata.labels[kTemplateLabel] = label_of(template_name);
    if (!spec.template_.uid.empty()) {
      k8s::meta_v1::OwnerReference owner;
      owner.api_version = pangea_v1::InfrastructureTemplate::kApiVersion;
      owner.kind = pangea_v1::InfrastructureTemplate::kKind;
      owner.name = template_name;
      owner.uid = spec.template_.uid;
      object.metadata.owner_references.push_back(std::move(owner));
    }
    object.spec = spec;
    auto made = client_->create(object);
    if (made) {
      // One comes, one goes; what that misses is collected.
      const int64_t gone = spec.cycle - static_cast<int64_t>(std::max<size_t>(1, options_.kept));
      if (gone > 0) (void)client_->remove<pangea_v1::CycleReceipt>(ns, receipt_name(template_name, gone));
      return Appended{object.metadata.name, spec.digest, spec.cycle};
    }
    if (!made.error().already_exists()) return err(made.error());
    ENGENHO_ASSIGN(const auto there, find(ns, object.metadata.name));
    if (!there) continue;
    if (there->spec.digest == spec.digest) return Appended{object.metadata.name, spec.digest, spec.cycle};  // by a try whose answer was lost
    if (there->spec.template_.uid != spec.template_.uid) {
      // Of a template of this name that is no more: it waits for the garbage collector.
      client::DeleteOptions exactly;
      exactly.uid = there->metadata.uid;
      const Status s = client_->remove<pangea_v1::CycleReceipt>(ns, object.metadata.name, exactly);
      if (!s.ok() && !s.not_found() && !s.conflict()) return err(s);
      continue;
    }
    // Written by a cycle that was cut off before its template heard of it. It happened: this one comes after it.
    spec.previous_digest = there->spec.digest;
    spec.cycle = there->spec.cycle + 1;
  }
  return err(Status(409, reason::kConflict, "no end of the chain of receipts of " + ns + "/" + template_name + " was found"));
}

Result<std::vector<json::Value>> ReceiptStore::list(const std::string& ns, const std::string& template_name) {
  client::ListOptions options;
  options.namespace_name = ns;
  options.label_selector = std::string(kTemplateLabel) + "=" + label_of(template_name);
  ENGENHO_ASSIGN(client::RawList found, client_->list_raw(client::resource_of<pangea_v1::CycleReceipt>(), options));
  std::vector<json::Value> out;
  for (json::Value& item : found.items) {
    if (item.str_at({"spec", "template", "name"}) == template_name) out.push_back(std::move(item));
  }
  auto cycle = [](const json::Value& v) { return v.at({"spec", "cycle"}) ? v.at({"spec", "cycle"})->int_or(0) : 0; };
  std::sort(out.begin(), out.end(), [&](const json::Value& a, const json::Value& b) { return cycle(a) < cycle(b); });
  return out;
}

Result<ChainReport> ReceiptStore::verify(const std::string& ns, const std::string& template_name, const std::string& newest_digest) {
  ENGENHO_ASSIGN(std::vector<json::Value> receipts, list(ns, template_name));
  ENGENHO_ASSIGN(const ReceiptKeys known, keys());
  return verify_chain(std::move(receipts), known, newest_digest);
}

Result<int> ReceiptStore::collect() {
  ENGENHO_ASSIGN(const auto all, client_->list<pangea_v1::CycleReceipt>());
  std::map<std::string, std::vector<const pangea_v1::CycleReceipt*>> chains;
  for (const pangea_v1::CycleReceipt& r : all.items) chains[r.metadata.namespace_ + "/" + r.spec.template_.name + "/" + r.spec.template_.uid].push_back(&r);
  const WallTime now = options_.clock->wall();
  const size_t kept = std::max<size_t>(1, options_.kept);
  int removed = 0;
  for (auto& [name, chain] : chains) {
    std::sort(chain.begin(), chain.end(), [](const auto* a, const auto* b) { return a->spec.cycle > b->spec.cycle; });
    // Only ever from the old end: a chain with a hole cannot be told from one that was tampered with.
    size_t stay = std::min(kept, chain.size());
    while (stay > 1 && options_.max_age.count() > 0 && now - chain[stay - 1]->spec.completed_at.value_or(now) > options_.max_age) --stay;
    for (size_t i = chain.size(); i-- > stay;) {
      client::DeleteOptions exactly;
      exactly.uid = chain[i]->metadata.uid;
      const Status s = client_->remove<pangea_v1::CycleReceipt>(chain[i]->metadata.namespace_, chain[i]->metadata.name, exactly);
      if (s.ok())
        ++removed;
      else if (!s.not_found())
        return err(s);
    }
  }
  return removed;
}

}  // namespace engenho::pangea
