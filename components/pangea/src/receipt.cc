#include "engenho/pangea/receipt.h"

#include <algorithm>
#include <cmath>

#include "engenho/base/bytes.h"
#include "engenho/pki/ed25519.h"

namespace engenho::pangea {

namespace pangea_v1 = k8s::pangea_v1;

namespace {

// Code units of UTF-16 in order: that is not the order of bytes, since those above U+FFFF begin with D800 to DBFF.
std::vector<uint16_t> utf16(std::string_view text) {
  std::vector<uint16_t> out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    uint32_t code = length == 1 ? byte : byte & (0xFFu >> (length + 1));
    for (size_t k = 1; k < length && i + k < text.size(); ++k) code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    i += length;
    if (code < 0x10000) {
      out.push_back(static_cast<uint16_t>(code));
    } else {
      out.push_back(static_cast<uint16_t>(0xD800 + ((code - 0x10000) >> 10)));
      out.push_back(static_cast<uint16_t>(0xDC00 + ((code - 0x10000) & 0x3FF)));
    }
  }
  return out;
}

void canonical_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          constexpr char kDigits[] = "0123456789abcdef";
          out += "\\u00";
          out += kDigits[static_cast<unsigned char>(c) >> 4];
          out += kDigits[static_cast<unsigned char>(c) & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void canonical_number(double value, std::string& out) {
  if (value == 0)
    out += '0';  // and minus zero
  else
    json::dump_double_to(value, out);
}

void canonical(const json::Value& value, std::string& out) {
  constexpr int64_t kExact = int64_t{1} << 53;
  switch (value.type()) {
    case json::Type::kNull:
      out += "null";
      break;
    case json::Type::kBool:
      out += value.as_bool() ? "true" : "false";
      break;
    case json::Type::kInt:
      if (value.as_int() <= kExact && value.as_int() >= -kExact)
        out += std::to_string(value.as_int());
      else
        canonical_number(static_cast<double>(value.as_int()), out);  // numbers are doubles there
      break;
    case json::Type::kDouble:
      canonical_number(value.as_double(), out);
      break;
    case json::Type::kString:
      canonical_string(value.as_string(), out);
      break;
    case json::Type::kArray: {
      out += '[';
      bool first = true;
      for (const json::Value& item : value.as_array()) {
        if (!first) out += ',';
        first = false;
        canonical(item, out);
      }
      out += ']';
      break;
    }
    case json::Type::kObject: {
      std::vector<const json::Object::Entry*> entries;
      bool plain = true;
      for (const json::Object::Entry& e : value.as_object()) {
        entries.push_back(&e);
        plain = plain && std::all_of(e.first.begin(), e.first.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
      }
      if (!plain) std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return utf16(a->first) < utf16(b->first); });
      out += '{';
      bool first = true;
      for (const json::Object::Entry* e : entries) {
        if (!first) out += ',';
        first = false;
        canonical_string(e->first, out);
        out += ':';
        canonical(e->second, out);
      }
      out += '}';
      break;
    }
  }
}

// At most `size` bytes, not in the middle of a character.
std::string cut(std::string_view text, size_t size) {
  if (text.size() <= size) return std::string(text);
  size_t end = size - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

int64_t cycle_of(const json::Value& object) {
  const json::Value* cycle = object.at({"spec", "cycle"});
  return cycle == nullptr ? 0 : cycle->int_or(0);
}

}  // namespace

std::string canonical_json(const json::Value& value) {
  std::string out;
  canonical(value, out);
  return out;
}

std::string receipt_key_id(const pki::PublicKey& key) {
  return sha256_hex(key.der()).substr(0, 16);
}

std::string receipt_name(const std::string& template_name, int64_t cycle) {
  const std::string number = "-" + std::to_string(cycle);
  if (template_name.size() + number.size() <= 253) return template_name + number;
  return template_name.substr(0, 200) + "-" + sha256_hex(template_name).substr(0, 16) + number;
}

std::string receipt_digest(const json::Value& spec) {
  json::Value content = spec;
  if (content.is_object()) {
    content.as_object().erase("digest");
    content.as_object().erase("signature");
  }
  return sha256_hex(canonical_json(content));
}

Status sign_receipt(pangea_v1::CycleReceiptSpec& spec, const pki::PrivateKey& key) {
  spec.key_id = receipt_key_id(key.public_key());
  pangea_v1::CycleReceipt whole;
  whole.spec = spec;
  const json::Value document = k8s::to_json(whole);
  spec.digest = receipt_digest(*document.get("spec"));
  ENGENHO_ASSIGN_OR_RETURN(const std::string signature, pki::sign_ed25519(key, spec.digest));
  spec.signature = base64_encode(signature);
  return {};
}

void describe_plan(pangea_v1::CycleReceiptSpec& spec, const SavedPlan& plan) {
  spec.executor = plan.executor;
  spec.plan_summary = plan.model.summary();
  spec.providers.clear();
  for (const auto& [source, version] : plan.providers) {
    pangea_v1::CycleReceiptSpecProvider p;
    p.source = source;
    p.version = version;
    spec.providers.push_back(std::move(p));
  }
  auto& state = spec.state.ensure();
  state.lineage = plan.lineage;
  state.serial_before = state.serial_after = static_cast<int64_t>(plan.serial);
  auto& summary = spec.summary.ensure();
  summary = {};
  summary.matched = std::max(0, plan.model.total - static_cast<int>(plan.model.changes.size()));
  summary.drifted_uncorrected = static_cast<int32_t>(plan.model.changes.size());
  spec.outcomes.clear();
  for (const Change& c : plan.model.changes) {
    pangea_v1::CycleOutcome o;
    o.address = c.address + (c.deposed.empty() ? "" : " (deposed object " + c.deposed + ")");
    o.outcome = "Drifted";  // it is not as it should be, and nothing was done about it
    o.action = c.action;
    spec.outcomes.push_back(std::move(o));
  }
}

void describe_apply(pangea_v1::CycleReceiptSpec& spec, const SavedPlan& plan, const Applied& applied) {
  describe_plan(spec, plan);
  auto& state = spec.state.ensure();
  state.lineage = applied.lineage.empty() ? plan.lineage : applied.lineage;
  state.serial_before = static_cast<int64_t>(applied.serial_before);
  state.serial_after = static_cast<int64_t>(applied.serial_after);
  auto& summary = spec.summary.ensure();
  summary.drifted_uncorrected = 0;
  spec.outcomes.clear();
  for (const Outcome& o : applied.outcomes) {
    pangea_v1::CycleOutcome out;
    out.address = o.address;
    out.action = o.action;
    if (o.started != WallTime{}) out.started_at = WallTime(std::chrono::floor<std::chrono::seconds>(o.started));
    out.duration_milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(o.elapsed).count();
    if (o.result != Outcome::Result::kDone) {
      out.outcome = "Failed";
      out.message = std::string(outcome_name(o.result)) + (o.message.empty() ? "" : ": " + o.message);
      ++summary.failed;
    } else if (o.action == "create") {
      out.outcome = "Created";
      ++summary.created;
    } else if (o.action == "delete") {
      out.outcome = "Destroyed";
      ++summary.destroyed;
    } else if (o.action == "import") {
      out.outcome = "Imported";
      ++summary.imported;
    } else {
      out.outcome = "Updated";
      ++summary.updated;
    }
    if (o.earlier) out.message = "by an earlier run of the same plan";
    spec.outcomes.push_back(std::move(out));
  }
}

void bound_receipt(pangea_v1::CycleReceiptSpec& spec, size_t entries) {
  constexpr size_t kMessage = 256;
  for (pangea_v1::CycleOutcome& o : spec.outcomes) o.message = cut(o.message, kMessage);
  spec.error = cut(spec.error, 1024);
  if (spec.outcomes.size() > entries) {
    std::stable_partition(spec.outcomes.begin(), spec.outcomes.end(), [](const auto& o) { return o.outcome == "Failed"; });
    spec.outcomes.resize(entries);
    std::stable_sort(spec.outcomes.begin(), spec.outcomes.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
    spec.truncated = true;
  }
  if (spec.decisions.size() > entries) {
    auto rest = std::stable_partition(spec.decisions.begin(), spec.decisions.end(), [](const auto& d) { return d.decision == "refuse"; });
    std::stable_partition(rest, spec.decisions.end(), [](const auto& d) { return d.decision != "autoApply"; });
    spec.decisions.resize(entries);
    std::stable_sort(spec.decisions.begin(), spec.decisions.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
    spec.truncated = true;
  }
}

Status verify_receipt(const json::Value& object, const ReceiptKeys& keys) {
  const json::Value* spec = object.get("spec");
  if (spec == nullptr || !spec->is_object()) return bad_request("it has no spec");
  const std::string name(object.str_at({"metadata", "name"})), expected = receipt_name(std::string(spec->str_at({"template", "name"})), cycle_of(object));
  if (name != expected) return bad_request("it is of " + expected + ", and was put under another name");
  if (object.str_at({"metadata", "namespace"}) != spec->str_at({"template", "namespace"}))
    return bad_request("it is of namespace " + std::string(spec->str_at({"template", "namespace"})) + ", and was put into another");
  const std::string digest(spec->str_at({"digest"}));
  if (receipt_digest(*spec) != digest) return bad_request("it was changed after it was signed: its digest is not that of its content");
  const std::string id(spec->str_at({"keyId"}));
  auto key = keys.find(id);
  if (key == keys.end()) return bad_request("it is signed with the key \"" + id + "\", which is not known");
  auto signature = base64_decode(spec->str_at({"signature"}));
  if (!signature || !pki::verify_ed25519(key->second, digest, *signature)) return bad_request("its signature is not that of the key " + id);
  return {};
}

ChainReport verify_chain(std::vector<json::Value> objects, const ReceiptKeys& keys, const std::string& newest_digest) {
  ChainReport out;
  std::stable_sort(objects.begin(), objects.end(), [](const json::Value& a, const json::Value& b) { return cycle_of(a) < cycle_of(b); });
  const json::Value* before = nullptr;
  for (const json::Value& object : objects) {
    const std::string name(object.str_at({"metadata", "name"}));
    const int64_t cycle = cycle_of(object);
    auto problem = [&](std::string why) { out.problems.push_back({name, cycle, std::move(why)}); };
    ++out.checked;
    if (Status s = verify_receipt(object, keys); !s.ok()) problem(s.message());
    const std::string previous(object.str_at({"spec", "previousDigest"}));
    if (before == nullptr) {
      out.anchor_digest = previous;
      out.from_genesis = previous == kGenesisDigest;
    } else {
      const int64_t last = cycle_of(*before);
      if (object.str_at({"spec", "template", "uid"}) != before->str_at({"spec", "template", "uid"}))
        problem("it is of another template of the same name than " + std::string(before->str_at({"metadata", "name"})));
      if (cycle == last) problem("there are two receipts of cycle " + std::to_string(cycle));
      // Recomputed: what the one before says about itself may be changed, too.
      else if (previous != receipt_digest(*before->get("spec"))) {
        problem(cycle > last + 1
                    ? "between it and " + std::string(before->str_at({"metadata", "name"})) + " receipts are missing: its previous digest is of neither"
                    : "its previous digest is not that of " + std::string(before->str_at({"metadata", "name"})));
      }
    }
    if (object.get("spec") != nullptr) before = &object;
  }
  if (before != nullptr) out.newest_digest = before->str_at({"spec", "digest"});
  if (!newest_digest.empty() && newest_digest != out.newest_digest) {
    out.problems.push_back({before == nullptr ? "" : std::string(before->str_at({"metadata", "name"})), before == nullptr ? 0 : cycle_of(*before),
                            "the template's newest receipt has the digest " + newest_digest + ": newer receipts are missing"});
  }
  return out;
}

}  // namespace engenho::pangea
