// Signed receipts: what every cycle of a template came to, in a chain that shows when something was changed or taken out of it.
//
// The digest of a receipt is the SHA-256 of the canonical JSON (RFC 8785) of its spec without `digest` and `signature`; it holds the previous receipt's digest
// and the key's id. The signature is Ed25519 over the digest's 64 hexadecimal characters, by a key that the cluster makes once: the private half is in the
// Secret pangea-receipt-key, all public halves ever used are in the ConfigMap pangea-receipt-keys, both in pangea-system. The first receipt's previous digest
// is 64 zeros. Retention takes receipts away at the old end; the oldest that is left is then the anchor.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/client/client.h"
#include "engenho/pangea/executor.h"
#include "engenho/pki/keys.h"

namespace engenho::pangea {

// --- pure ---

// RFC 8785: keys sorted by UTF-16 code units, numbers as ECMAScript writes them, nothing escaped that need not be.
std::string canonical_json(const json::Value& value);

inline constexpr std::string_view kGenesisDigest = "0000000000000000000000000000000000000000000000000000000000000000";

using ReceiptKeys = std::map<std::string, pki::PublicKey>;  // by id
std::string receipt_key_id(const pki::PublicKey& key);      // 16 hexadecimal digits

std::string receipt_name(const std::string& template_name, int64_t cycle);
std::string receipt_digest(const json::Value& spec);

// Fills keyId, digest and signature.
Status sign_receipt(k8s::pangea_v1::CycleReceiptSpec& spec, const pki::PrivateKey& key);

// What is in a receipt of a plan, and of an apply. Counts are of everything, whatever is left out of the lists later.
void describe_plan(k8s::pangea_v1::CycleReceiptSpec& spec, const SavedPlan& plan);
void describe_apply(k8s::pangea_v1::CycleReceiptSpec& spec, const SavedPlan& plan, const Applied& applied);
// Leaves at most `entries` outcomes and decisions (those that went wrong, or were not automatic, first) and says so in `truncated`; cuts messages at 256 bytes.
void bound_receipt(k8s::pangea_v1::CycleReceiptSpec& spec, size_t entries);

// One receipt by itself: the object's name, its digest, its signature. The error says which is wrong.
Status verify_receipt(const json::Value& object, const ReceiptKeys& keys);

struct ReceiptProblem {
  std::string name;  // of the receipt
  int64_t cycle = 0;
  std::string why;
};
struct ChainReport {
  int checked = 0;
  std::string newest_digest, anchor_digest;  // anchor: previous digest of the oldest receipt
  bool from_genesis = false;                 // nothing was taken away at the old end
  std::vector<ReceiptProblem> problems;
  bool ok() const { return problems.empty(); }
};
// All receipts of one template, in any order. `newest_digest`: what the template says its newest receipt's digest is; empty: unknown.
ChainReport verify_chain(std::vector<json::Value> objects, const ReceiptKeys& keys, const std::string& newest_digest = "");

// --- in the cluster ---

struct ReceiptOptions {
  size_t kept = 50;       // a template; at least one
  Duration max_age{0};    // older ones are collected; zero: whatever their age
  size_t entries = 1000;  // outcomes and decisions in one receipt
  Clock* clock = &Clock::real();
};

// Where a template's chain ends, as its status knows it. Empty: it has none.
struct ChainEnd {
  std::string name, digest;
};
struct Appended {
  std::string name, digest;
  int64_t cycle = 0;  // perhaps a later one than asked for: the number was taken by a cycle that was cut off after it had written its receipt
};

// Thread-safe. A template's chain has one writer at a time; should there be two, one of them comes after the other.
class ReceiptStore {
 public:
  ReceiptStore(std::shared_ptr<client::Client> client, ReceiptOptions options = {});
  ~ReceiptStore();

  // Puts the receipt at the end of its template's chain: previousDigest, cycle (when it is taken), keyId, digest and signature are filled in here.
  // spec.template says whose it is.
  Result<Appended> append(k8s::pangea_v1::CycleReceiptSpec spec, const ChainEnd& end);
  // Oldest first.
  Result<std::vector<json::Value>> list(const std::string& ns, const std::string& template_name);
  Result<ChainReport> verify(const std::string& ns, const std::string& template_name, const std::string& newest_digest = "");
  Result<ReceiptKeys> keys();
  // Removes what is beyond count and age, of all templates; of each the newest stays. Returns how many.
  Result<int> collect();

 private:
  Result<pki::PrivateKey> signing_key();
  Result<std::optional<k8s::pangea_v1::CycleReceipt>> find(const std::string& ns, const std::string& name);

  const std::shared_ptr<client::Client> client_;
  const ReceiptOptions options_;
  std::mutex mutex_;  // guards the key
  pki::PrivateKey key_;
};

}  // namespace engenho::pangea
