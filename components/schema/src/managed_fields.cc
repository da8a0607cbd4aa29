#include "engenho/schema/managed_fields.h"

#include <algorithm>
#include <map>

#include "engenho/schema/api_errors.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/field_set.h"

namespace engenho::schema {

namespace {

using json::Value;

constexpr size_t kMaxUpdateManagers = 10;
constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

// The identity of an entry: everything but its fields and time. Appliers have no version: they always own one entry.
struct ManagerId {
  std::string manager, operation, api_version, subresource;
  auto operator<=>(const ManagerId&) const = default;
};

struct Entry {
  FieldSet fields;
  std::string api_version;
  std::string time;
};

using Managed = std::map<ManagerId, Entry>;

bool read_managed(const Value& object, Managed& out) {
  const Value* list = object.at({"metadata", "managedFields"});
  if (list == nullptr) return true;
  for (const Value& item : list->items()) {
    const std::string_view operation = item.str_at({"operation"});
    if (operation != "Apply" && operation != "Update") return false;
    if (item.str_at({"apiVersion"}).empty() || item.str_at({"fieldsType"}) != "FieldsV1") return false;
    const Value* fields = item.get("fieldsV1");
    if (fields == nullptr) return false;
    auto set = FieldSet::from_json(*fields);
    if (!set) return false;
    ManagerId id{std::string(item.str_at({"manager"})), std::string(operation),
                 operation == "Apply" ? "" : std::string(item.str_at({"apiVersion"})), std::string(item.str_at({"subresource"}))};
    out[std::move(id)] = {std::move(*set), std::string(item.str_at({"apiVersion"})), std::string(item.str_at({"time"}))};
  }
  return true;
}

void write_managed(const Managed& managed, Value& object) {
  json::Object* metadata = nullptr;
  if (Value* m = object.get("metadata"); m != nullptr && m->is_object()) metadata = &m->as_object();
  if (metadata == nullptr) return;
  if (managed.empty()) {
    metadata->erase("managedFields");
    return;
  }
  std::vector<Value> entries;
  for (const auto& [id, entry] : managed) {
    Value item = json::Object();
    if (!id.manager.empty()) item["manager"] = id.manager;
    item["operation"] = id.operation;
    item["apiVersion"] = entry.api_version;
    if (!id.subresource.empty()) item["subresource"] = id.subresource;
    if (!entry.time.empty()) item["time"] = entry.time;
    item["fieldsType"] = "FieldsV1";
    item["fieldsV1"] = entry.fields.to_json();
    entries.push_back(std::move(item));
  }
  std::sort(entries.begin(), entries.end(), [](const Value& a, const Value& b) {
    for (std::string_view key : {"operation", "time", "manager", "apiVersion", "subresource"}) {
      const std::string_view x = a.str_at({key}), y = b.str_at({key});
      if (x != y) return x < y;
    }
    return false;
  });
  metadata->set("managedFields", json::Array(entries.begin(), entries.end()));
}

Value without_managed(const Value& object) {
  Value out = object;
  if (Value* metadata = out.get("metadata"); metadata != nullptr && metadata->is_object()) metadata->as_object().erase("managedFields");
  return out;
}

// Fields that nobody owns.
const FieldSet& unowned() {
  static const FieldSet set = [] {
    FieldSet s;
    s.insert({"f:apiVersion"});
    s.insert({"f:kind"});
    s.insert({"f:metadata"});
    for (const char* name : {"f:name", "f:namespace", "f:creationTimestamp", "f:selfLink", "f:uid", "f:clusterName", "f:generation",
                             "f:managedFields", "f:resourceVersion"}) {
      s.insert({"f:metadata", name});
    }
    return s;
  }();
  return set;
}

struct FieldConflict {
  ManagerId manager;
  std::string path;
};

// What one change does to everybody's ownership: fields that changed are taken from the others, fields that went are forgotten.
// With `conflicts` null nothing is a conflict.
void take_over(const Comparison& change, const ManagerId* self, Managed& managed, std::vector<FieldConflict>* conflicts) {
  const FieldSet touched = change.added.unite(change.modified);
  std::vector<std::pair<const ManagerId*, FieldSet>> hits;
  for (const auto& [id, entry] : managed) {
    if (self != nullptr && id == *self) continue;
    FieldSet hit = entry.fields.intersect(touched);
    if (!hit.empty()) hits.emplace_back(&id, std::move(hit));
  }
  if (conflicts != nullptr && !hits.empty()) {
    for (const auto& [id, set] : hits) {
      set.each([&, who = id](const std::string& path) { conflicts->push_back({*who, path}); });
    }
    return;
  }
  for (const auto& [id, set] : hits) managed[*id].fields = managed[*id].fields.subtract(set);
  for (auto& [id, entry] : managed) {
    if (self != nullptr && id == *self) continue;
    if (!change.removed.empty()) entry.fields = entry.fields.subtract(change.removed);
  }
  std::erase_if(managed, [&](const auto& item) { return item.second.fields.empty() && !(self != nullptr && item.first == *self); });
}

// At most ten updaters are kept apart; the oldest beyond that share an entry per version.
void cap_managers(Managed& managed) {
  std::vector<std::pair<std::string, ManagerId>> updaters;
  for (const auto& [id, entry] : managed) {
    if (id.operation == "Update") updaters.emplace_back(entry.time, id);
  }
  if (updaters.size() <= kMaxUpdateManagers) return;
  std::sort(updaters.begin(), updaters.end());
  size_t count = updaters.size();
  for (const auto& [time, id] : updaters) {
    if (count <= kMaxUpdateManagers) break;
    const ManagerId bucket{"ancient-changes", "Update", id.api_version, id.subresource};
    if (id == bucket) continue;
    Entry entry = std::move(managed[id]);
    managed.erase(id);
    auto [it, fresh] = managed.try_emplace(bucket, entry);
    if (!fresh) {
      it->second.fields = it->second.fields.unite(entry.fields);
      it->second.time = std::max(it->second.time, entry.time);
      --count;
    }
  }
}

std::string print_manager(const ManagerId& id) {
  std::string out = json::dump(Value(id.manager));
  if (!id.subresource.empty()) out += " with subresource \"" + id.subresource + "\"";
  if (id.operation == "Update") out += " using " + id.api_version;
  return out;
}

Status conflict_status(const std::vector<FieldConflict>& conflicts) {
  StatusDetails details;
  for (const FieldConflict& c : conflicts) {
    details.causes.push_back({"FieldManagerConflict", "conflict with " + print_manager(c.manager), c.path});
  }
  std::string message;
  if (conflicts.size() == 1) {
    message = "Apply failed with 1 conflict: conflict with " + print_manager(conflicts[0].manager) + ": " + conflicts[0].path;
  } else {
    message = "Apply failed with " + std::to_string(conflicts.size()) + " conflicts: ";
    const ManagerId* last = nullptr;
    bool first = true;
    for (const FieldConflict& c : conflicts) {
      if (last == nullptr || !(*last == c.manager)) {
        message += (first ? "" : "\n") + std::string("conflicts with ") + print_manager(c.manager) + ":";
        last = &c.manager;
      }
      first = false;
      message += "\n- " + c.path;
    }
  }
  return Status(409, reason::kConflict, std::move(message), std::move(details));
}

Managed current_managed(const ManagerContext& context, const Value* live, const Value& updated) {
  Managed managed;
  auto from_live = [&] {
    managed.clear();
    if (live == nullptr || !read_managed(*live, managed)) managed.clear();
  };
  if (!context.subresource.empty()) {
    from_live();
  } else if (!context.reset) {
    if (!read_managed(updated, managed) || managed.empty()) from_live();
  }
  return managed;
}

// What the request cannot write does not change hands either.
Comparison writable(Comparison change, const FieldSet* ignore) {
  if (ignore == nullptr) return change;
  for (FieldSet* set : {&change.added, &change.modified, &change.removed}) *set = set->subtract_recursive(*ignore);
  return change;
}

// One update by `manager`, as track_update() records it.
void record_update(const ManagerContext& context, const std::string& manager, const Value& before, const Value& after, Managed& managed) {
  const Comparison change = writable(compare(*context.schema, before, after), context.ignore);
  if (change.same()) return;
  take_over(change, nullptr, managed, nullptr);
  const FieldSet owned = change.added.unite(change.modified).subtract(unowned());
  if (owned.empty()) return;
  const ManagerId id{manager.empty() ? "unknown" : manager, "Update", context.api_version, context.subresource};
  Entry& entry = managed[id];
  entry.fields = entry.fields.unite(owned);
  entry.api_version = context.api_version;
  entry.time = format_rfc3339(context.now);
}

// The object before it existed: what an empty Go struct of the kind prints.
Value bare(const Schema& schema, const Value& object) {
  Value out = json::Object();
  for (const char* name : {"apiVersion", "kind"}) {
    if (const Value* v = object.get(name)) out[name] = *v;
  }
  normalize(schema, out);
  return out;
}

// Fields of the annotation that a client-side apply left, for the hand-over to server-side apply.
FieldSet last_applied_fields(const Schema& schema, const Value& live) {
  const std::string_view text = live.str_at({"metadata", "annotations", kLastApplied});
  if (text.empty()) return {};
  auto parsed = json::parse(text);
  if (!parsed || !parsed->is_object() || parsed->str_at({"apiVersion"}) != live.str_at({"apiVersion"})) return {};
  return fields_of(schema, *parsed);
}

}  // namespace

void track_update(const ManagerContext& context, const Value* live, Value& updated) {
  if (context.schema == nullptr || updated.get("metadata") == nullptr) return;
  Managed managed = current_managed(context, live, updated);
  if (managed.empty() && live != nullptr) {
    // Nobody owned anything, so this change is not tracked either.
    write_managed(managed, updated);
    return;
  }
  const Value before = live != nullptr ? without_managed(*live) : bare(*context.schema, updated);
  record_update(context, context.manager, before, without_managed(updated), managed);
  cap_managers(managed);
  write_managed(managed, updated);
}

Result<Value> apply(const ManagerContext& context, const Value* live, const Value& applied, bool force) {
  const Schema& schema = *context.schema;
  if (const Value* given = applied.at({"metadata", "managedFields"}); given != nullptr && !given->is_null()) {
    return err(bad_request("metadata.managedFields must be nil"));
  }
  auto typed_error = [&](Status status) {
    const std::string_view ns = applied.str_at({"metadata", "namespace"});
    const std::string_view version = applied.str_at({"apiVersion"});
    std::string gvk = version.find('/') == std::string_view::npos ? "/" + std::string(version) : std::string(version);
    return err(Status(status.code(), "",
                      "failed to create typed patch object (" + std::string(ns) + "/" + std::string(applied.str_at({"metadata", "name"})) +
                          "; " + gvk + ", Kind=" + std::string(applied.str_at({"kind"})) + "): " + status.message()));
  };
  if (Status status = check_typed(schema, applied); !status.ok()) return typed_error(status);

  Managed managed;
  if (live != nullptr && !read_managed(*live, managed)) managed.clear();
  const Value before = live != nullptr ? without_managed(*live) : bare(schema, applied);
  if (managed.empty() && live != nullptr) {
    ManagerContext first = context;
    first.subresource.clear();
    record_update(first, "before-first-apply", bare(schema, *live), before, managed);
  }

  ENGENHO_ASSIGN(Value merged, merge_typed(schema, before, applied));
  const ManagerId self{context.manager, "Apply", "", context.subresource};
  FieldSet last;
  if (auto it = managed.find(self); it != managed.end()) last = it->second.fields;
  FieldSet now = fields_of(schema, applied).subtract(unowned());
  if (context.ignore != nullptr) now = now.subtract_recursive(*context.ignore);

  Managed next = managed;
  next[self].fields = now;
  next[self].api_version = context.api_version;
  if (!last.empty()) {
    // What this manager applied before and no longer does goes, unless somebody else owns it.
    Value pruned = remove_items(schema, merged, ensure_named_fields(schema, last));
    const FieldSet all = ensure_named_fields(schema, fields_of(schema, merged));
    FieldSet owned = fields_of(schema, applied);  // name and version too, which nobody comes to own
    for (const auto& [id, entry] : next) owned = owned.unite(entry.fields);
    const FieldSet kept = ensure_named_fields(schema, fields_of(schema, pruned)).unite(ensure_named_fields(schema, owned));
    pruned = remove_items(schema, merged, all.subtract(kept));
    // Only what was applied before may go: the rest is put back.
    const FieldSet still = ensure_named_fields(schema, fields_of(schema, pruned));
    merged = remove_items(schema, merged, all.subtract(still).intersect(ensure_named_fields(schema, last)));
  }

  const Comparison change = writable(compare(schema, before, merged), context.ignore);
  std::vector<FieldConflict> conflicts;
  Managed attempt = next;
  take_over(change, &self, attempt, force ? nullptr : &conflicts);
  if (!conflicts.empty() && context.manager == "kubectl" && live != nullptr) {
    // kubectl moves from client-side to server-side apply: conflicts with what its own annotation says are no conflicts.
    const FieldSet allowed = last_applied_fields(schema, *live);
    std::map<std::string, bool> paths;
    allowed.each([&](const std::string& path) { paths[path] = true; });
    const bool all = std::all_of(conflicts.begin(), conflicts.end(), [&](const FieldConflict& c) { return paths.contains(c.path); });
    if (all && !paths.empty()) {
      conflicts.clear();
      attempt = next;
      take_over(change, &self, attempt, nullptr);
    }
  }
  if (!conflicts.empty()) return err(conflict_status(conflicts));

  if (attempt[self].fields.empty()) attempt.erase(self);
  auto previous = managed.find(self);
  if (auto it = attempt.find(self); it != attempt.end()) {
    // An apply that changes nothing but ownership leaves no time.
    it->second.time = !change.same() || live == nullptr ? format_rfc3339(context.now) : previous == managed.end() ? "" : previous->second.time;
  }
  if (merged.get("metadata") == nullptr) merged["metadata"] = json::Object();
  write_managed(attempt, merged);
  if (Value* annotation = merged.at({"metadata", "annotations", kLastApplied}); annotation != nullptr && context.manager == "kubectl") {
    // kubectl's own client-side apply may come back: it finds what was applied last.
    Value applied_last = applied;
    if (Value* annotations = applied_last.at({"metadata", "annotations"}); annotations != nullptr && annotations->is_object()) {
      annotations->as_object().erase(kLastApplied);
    }
    *annotation = json::dump(applied_last) + "\n";
  }
  return merged;
}

}  // namespace engenho::schema
