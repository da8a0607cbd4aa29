#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/schema/patch.h"

namespace engenho::schema {

namespace {

using json::Value;

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kOrderPrefix = "$setElementOrder/";
constexpr std::string_view kDeletePrefix = "$deleteFromPrimitiveList/";

Status plain(std::string message) { return Status(500, "", std::move(message)); }

// What Go's fmt prints for a document in map[string]interface{} form.
void go_print(const Value& value, std::string& out) {
  if (value.is_object()) {
    out += "map[";
    bool first = true;
    for (const auto& [k, v] : value.as_object()) {
      if (!first) out += ' ';
      first = false;
      out += k + ':';
      go_print(v, out);
    }
    out += ']';
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const Value& v : value.as_array()) {
      if (!first) out += ' ';
      first = false;
      go_print(v, out);
    }
    out += ']';
  } else if (value.is_string()) {
    out += value.as_string();
  } else if (value.is_null()) {
    out += "<nil>";
  } else {
    json::dump_to(value, out);
  }
}
std::string go_text(const Value& value) {
  std::string out;
  go_print(value, out);
  return out;
}

Value* find_by_key(json::Array& list, std::string_view key, const Value& wanted) {
  for (Value& item : list) {
    const Value* have = item.get(key);
    if (have != nullptr && *have == wanted) return &item;
  }
  return nullptr;
}

Status merge_map(const Schema* schema, Value& document, const Value& patch);

Status missing_key(const Value& item, std::string_view key) {
  return plain("map: " + go_text(item) + " does not contain declared merge key: " + std::string(key));
}

// The order of a merged list: what `order` names stands in its order; what only the server has keeps the server's, before the first of the others that it
// stood before. New elements thus come first. `server` is the list as it was; `key` is empty for lists of scalars.
void order_list(json::Array& list, const json::Array& order, const json::Array& server, std::string_view key) {
  auto position = [&](const json::Array& in, const Value& item) -> int64_t {
    const Value* have = key.empty() ? &item : item.get(key);
    for (size_t i = 0; have != nullptr && i < in.size(); ++i) {
      const Value* want = key.empty() ? &in[i] : in[i].get(key);
      if (want != nullptr && *have == *want) return static_cast<int64_t>(i);
    }
    return -1;
  };
  struct Placed {
    int64_t rank, before;  // in `order` or the server's list; in the server's list, -1: not there
    Value value;
  };
  std::vector<Placed> named, others;
  for (Value& item : list) {
    const int64_t at = position(order, item), before = position(server, item);
    if (at >= 0) named.push_back({at, before, std::move(item)});
    else others.push_back({before, before, std::move(item)});
  }
  auto by_rank = [](const Placed& a, const Placed& b) { return a.rank < b.rank; };
  std::stable_sort(named.begin(), named.end(), by_rank);
  std::stable_sort(others.begin(), others.end(), by_rank);
  json::Array out;
  size_t n = 0, o = 0;
  while (n < named.size() || o < others.size()) {
    const bool other = n == named.size() || (o < others.size() && others[o].before >= 0 && named[n].before >= 0 && others[o].before < named[n].before);
    out.push_back(std::move(other ? others[o++].value : named[n++].value));
  }
  list = std::move(out);
}

Status merge_object_list(const Schema* element, std::string_view key, Value& document, const Value& patch) {
  json::Array& live = document.make_array();
  json::Array added;
  bool replace = false;
  for (const Value& item : patch.as_array()) {
    if (item.str_at({kDirective}) == "replace" ) replace = true;
  }
  if (replace) {
    json::Array fresh;
    for (const Value& item : patch.as_array()) {
      if (!item.is_object() || item.get(kDirective) == nullptr) fresh.push_back(item);
    }
    live = std::move(fresh);
    return {};
  }
  for (const Value& item : patch.as_array()) {
    if (!item.is_object()) return plain("expected a map in the list, got " + go_text(item));
    const Value* id = item.get(key);
    const std::string_view directive = item.str_at({kDirective});
    if (item.get(kDirective) != nullptr && directive == "delete") {
      if (id == nullptr) return missing_key(item, key);
      std::erase_if(live, [&](const Value& l) { return l.get(key) != nullptr && *l.get(key) == *id; });
      continue;
    }
    if (item.get(kDirective) != nullptr && directive != "merge" ) {
      return plain("Unknown patch type found: " + std::string(directive));
    }
    if (item.get(kDirective) != nullptr && directive == "merge") {
      return plain("unable to merge a list with an item of directive merge: not a real option");
    }
    if (id == nullptr) return missing_key(item, key);
    for (const Value& l : live) {
      if (l.get(key) == nullptr) return missing_key(l, key);
    }
    if (Value* existing = find_by_key(live, key, *id)) {
      ENGENHO_RETURN_IF_ERROR(merge_map(element, *existing, item));
    } else if (Value* again = find_by_key(added, key, *id)) {
      ENGENHO_RETURN_IF_ERROR(merge_map(element, *again, item));
    } else {
      Value fresh = json::Object();
      ENGENHO_RETURN_IF_ERROR(merge_map(element, fresh, item));
      added.push_back(std::move(fresh));
    }
  }
  live.insert(live.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));  // the caller puts them in order
  return {};
}

Status merge_map(const Schema* schema, Value& document, const Value& patch) {
  if (const Value* directive = patch.get(kDirective)) {
    const std::string_view what = directive->str();
    if (what == "replace") {
      Value fresh = patch;
      fresh.as_object().erase(kDirective);
      document = std::move(fresh);
      return {};
    }
    if (what == "delete") {
      document = json::Object();
      return {};
    }
    if (what != "merge") return plain("Unknown patch type found: " + std::string(what));
  }
  json::Object& members = document.make_object();
  if (const Value* keep = patch.get(kRetainKeys)) {
    for (const auto& [name, change] : patch.as_object()) {
      if (name.starts_with('$') || change.is_null()) continue;
      if (std::find(keep->items().begin(), keep->items().end(), Value(name)) == keep->items().end()) return bad_request("invalid patch format of retainKeys");
    }
    std::vector<std::string> gone;
    for (const auto& [k, v] : members) {
      const bool kept = std::any_of(keep->items().begin(), keep->items().end(), [&](const Value& n) { return n.str() == k; });
      if (!kept) gone.push_back(k);
    }
    for (const std::string& k : gone) members.erase(k);
  }
  for (const auto& [name, change] : patch.as_object()) {
    if (name == kDirective || name == kRetainKeys) continue;
    if (name.starts_with(kOrderPrefix)) continue;
    if (name.starts_with(kDeletePrefix)) {
      if (Value* list = members.find(std::string_view(name).substr(kDeletePrefix.size())); list != nullptr && list->is_array()) {
        std::erase_if(list->as_array(), [&](const Value& v) {
          return std::find(change.items().begin(), change.items().end(), v) != change.items().end();
        });
      }
      continue;
    }
    if (change.is_null()) {
      members.erase(name);
      continue;
    }
    const Field* field = schema != nullptr && schema->kind == Kind::kObject ? schema->field(name) : nullptr;
    const Schema* inner = field != nullptr ? field->schema : schema != nullptr && schema->kind == Kind::kMap ? schema->element : nullptr;
    Value* existing = members.find(name);
    if (change.is_object()) {
      if (inner != nullptr && inner->kind != Kind::kObject && inner->kind != Kind::kMap && inner->kind != Kind::kRawExtension &&
          inner->kind != Kind::kJson && inner->kind != Kind::kAny) {
        members.set(name, change);  // the decoder says what is wrong with it
        continue;
      }
      // Absent: merging into nothing still takes the directives out.
      Value& slot = members[name];
      if (existing != nullptr && !slot.is_object()) slot = json::Object();
      ENGENHO_RETURN_IF_ERROR(merge_map(inner, slot, change));
      if (change.str_at({kDirective}) == "delete") members.erase(name);
    } else if (change.is_array() && field != nullptr && field->merges() && inner != nullptr && inner->kind == Kind::kArray) {
      const bool objects = inner->element != nullptr && (inner->element->kind == Kind::kObject);
      Value& slot = members[name];
      const json::Array server = slot.items();
      if (objects) {
        ENGENHO_RETURN_IF_ERROR(merge_object_list(inner->element, field->merge_key, slot, change));
      } else {
        json::Array& live = slot.make_array();
        for (const Value& item : change.as_array()) {
          if (std::find(live.begin(), live.end(), item) == live.end()) live.push_back(item);
        }
      }
      const Value* given = patch.get(std::string(kOrderPrefix) + name);
      const bool replaced = std::any_of(change.as_array().begin(), change.as_array().end(), [](const Value& v) { return v.str_at({kDirective}) == "replace"; });
      if (!replaced) order_list(slot.make_array(), given != nullptr && !given->items().empty() ? given->items() : change.as_array(), server, objects ? field->merge_key : std::string_view());
    } else {
      members.set(name, change);
    }
  }
  for (const auto& [name, order] : patch.as_object()) {
    if (!name.starts_with(kOrderPrefix)) continue;
    const std::string_view list_name = std::string_view(name).substr(kOrderPrefix.size());
    const Field* field = schema != nullptr && schema->kind == Kind::kObject ? schema->field(list_name) : nullptr;
    Value* list = members.find(list_name);
    if (field == nullptr || list == nullptr || !list->is_array() || !order.is_array() || order.as_array().empty()) continue;
    const bool objects = field->schema != nullptr && field->schema->element != nullptr && field->schema->element->kind == Kind::kObject;
    if (const Value* items = patch.get(list_name); items != nullptr && objects) {
      // The patch's own elements must stand in the order given.
      size_t at = 0;
      for (const Value& item : items->items()) {
        const Value* id = item.get(field->merge_key);
        if (id == nullptr || item.str_at({kDirective}) == "delete") continue;
        while (at < order.as_array().size() &&
               (order.as_array()[at].get(field->merge_key) == nullptr || !(*order.as_array()[at].get(field->merge_key) == *id))) {
          ++at;
        }
        if (at == order.as_array().size()) {
          return plain("The order in patch list:\n" + go_text(*items) + "\n doesn't match " + std::string(name) + " list:\n" +
                       go_text(order) + "\n");
        }
      }
    }
    if (patch.get(list_name) == nullptr) order_list(list->as_array(), order.as_array(), json::Array(list->as_array()), objects ? field->merge_key : std::string_view());
  }
  return {};
}

}  // namespace

Status apply_strategic_merge_patch(const Schema& schema, Value& document, const Value& patch) {
  if (patch.is_null()) return {};
  if (!patch.is_object()) return bad_request("invalid strategic merge patch: expected an object");
  return merge_map(&schema, document, patch);
}

}  // namespace engenho::schema
