#include "engenho/schema/field_set.h"

#include "engenho/schema/go_values.h"

#include <algorithm>

namespace engenho::schema {

namespace {

using json::Value;

const Schema kUntyped{.kind = Kind::kAny};

bool is_map_like(const Schema& s, const Value& v) {
  if (s.kind == Kind::kObject || s.kind == Kind::kMap) return v.is_object();
  return s.kind == Kind::kAny && v.is_object();
}
bool whole(const Schema& s) {
  // Types whose value is owned as one.
  switch (s.kind) {
    case Kind::kObject: return s.atomic;
    case Kind::kMap: return s.atomic;
    case Kind::kArray: return s.list_type != ListType::kMap && s.list_type != ListType::kSet;
    default: return true;
  }
}

struct Member {
  const Schema* schema;
  bool atomic;
  bool named;  // a field of a struct, not a key of a map
};
Member member_of(const Schema& parent, std::string_view name) {
  if (parent.kind == Kind::kObject) {
    if (const Field* f = parent.field(name)) return {f->schema, f->atomic || whole(*f->schema), true};
  }
  if (parent.kind == Kind::kMap && parent.element != nullptr) return {parent.element, whole(*parent.element), false};
  return {&kUntyped, false, false};
}
// An untyped value: maps are merged by key, lists replaced whole.
bool atomic_value(const Member& m, const Value& v) {
  if (m.schema->kind == Kind::kAny || m.schema->kind == Kind::kJson) return !v.is_object();
  return m.atomic;
}

std::string field_element(std::string_view name) { return "f:" + std::string(name); }

// The path element of a list item; empty when a key is missing and has no default.
std::string item_element(const Schema& list, const Value& item, std::string* problem = nullptr) {
  if (list.list_type == ListType::kSet) return "v:" + json::dump(item);
  json::Object keys;
  for (std::string_view name : list.list_keys) {
    const Value* v = item.get(name);
    if (v != nullptr && !v->is_null()) {
      keys.set(name, *v);
      continue;
    }
    const Field* f = list.element != nullptr && list.element->kind == Kind::kObject ? list.element->field(name) : nullptr;
    if (f != nullptr && f->default_value != nullptr) {
      keys.set(name, *f->default_value);
    } else if (f != nullptr && !f->default_json.empty()) {
      if (auto parsed = json::parse(f->default_json)) keys.set(name, std::move(*parsed));
    }
    // A key that is absent without a default is left out: the remaining keys identify the item.
  }
  if (keys.empty()) {
    if (problem != nullptr) {
      *problem = "associative list with keys has an element that omits all key fields";
      std::string names;
      for (std::string_view n : list.list_keys) names += (names.empty() ? "\"" : ", \"") + std::string(n) + "\"";
      *problem = "associative list with keys has an element that omits key field " + names;
    }
    return "";
  }
  return "k:" + json::dump(Value(std::move(keys)));
}

void collect(const Schema& schema, const Value& value, bool atomic, FieldSet& out) {
  if (atomic || value.is_null()) {
    out.member = true;
    return;
  }
  if (is_map_like(schema, value)) {
    for (const auto& [name, v] : value.as_object()) {
      const Member m = member_of(schema, name);
      FieldSet& child = out.children[field_element(name)];
      collect(*m.schema, v, atomic_value(m, v), child);
      if (v.is_null() || (v.is_object() && v.as_object().empty()) || !m.named) child.member = true;
    }
    return;
  }
  if (schema.kind == Kind::kArray && value.is_array()) {
    for (const Value& item : value.as_array()) {
      const std::string element = item_element(schema, item);
      if (element.empty()) continue;
      FieldSet& child = out.children[element];
      if (schema.list_type == ListType::kMap && schema.element != nullptr) collect(*schema.element, item, whole(*schema.element), child);
      child.member = true;
    }
    return;
  }
  out.member = true;
}

void drop_empty(FieldSet& set) {
  for (auto it = set.children.begin(); it != set.children.end();) {
    drop_empty(it->second);
    if (!it->second.member && it->second.children.empty()) it = set.children.erase(it);
    else ++it;
  }
}

// Marks every map, list and struct inside a value as a member itself.
void mark_containers(const Schema& schema, const Value& value, bool atomic, FieldSet& set) {
  set.member = true;
  if (atomic || value.is_null()) return;
  if (is_map_like(schema, value)) {
    for (const auto& [name, v] : value.as_object()) {
      const Member m = member_of(schema, name);
      mark_containers(*m.schema, v, atomic_value(m, v), set.children[field_element(name)]);
    }
  } else if (schema.kind == Kind::kArray && value.is_array() && schema.list_type == ListType::kMap && schema.element != nullptr) {
    for (const Value& item : value.as_array()) {
      const std::string element = item_element(schema, item);
      if (!element.empty()) mark_containers(*schema.element, item, whole(*schema.element), set.children[element]);
    }
  }
}

std::map<std::string, const Value*> items_by_element(const Schema& list, const Value& value) {
  std::map<std::string, const Value*> out;
  for (const Value& item : value.items()) {
    const std::string element = item_element(list, item);
    if (!element.empty()) out.emplace(element, &item);
  }
  return out;
}

// Where before and after differ. A value on one side only counts with all its fields.
void compare_values(const Schema& schema, bool atomic, const Value* before, const Value* after, FieldSet& added, FieldSet& modified,
                    FieldSet& removed) {
  if (before == nullptr || after == nullptr) {
    const Value& only = before != nullptr ? *before : *after;
    FieldSet& into = before != nullptr ? removed : added;
    FieldSet fields;
    collect(schema, only, atomic, fields);
    // What comes or goes whole is a change of itself too: ".": {} beside its fields.
    fields.member = true;
    mark_containers(schema, only, atomic, fields);
    into = into.unite(fields);
    return;
  }
  if (*before == *after) return;
  // null is the empty container of Go: what is in the other side is new, the container itself is not.
  if (before->is_null() != after->is_null() && !atomic) {
    const Value& only = before->is_null() ? *after : *before;
    if ((is_map_like(schema, only) || (schema.kind == Kind::kArray && only.is_array())) && !whole(schema)) {
      FieldSet fields;
      mark_containers(schema, only, atomic, fields);
      fields.member = false;
      FieldSet& into = before->is_null() ? added : removed;
      into = into.unite(fields);
      return;
    }
  }
  const bool maps = !atomic && is_map_like(schema, *before) && is_map_like(schema, *after);
  if (maps) {
    const json::Object& b = before->as_object();
    const json::Object& a = after->as_object();
    auto visit = [&](const std::string& name, const Value* x, const Value* y) {
      const Member m = member_of(schema, name);
      const std::string element = field_element(name);
      const Value& any = x != nullptr ? *x : *y;
      bool one_sided = x == nullptr || y == nullptr;
      bool whole_value = x != nullptr ? atomic_value(m, *x) : atomic_value(m, *y);
      if (!one_sided) whole_value = atomic_value(m, *x) || atomic_value(m, *y);
      compare_values(*m.schema, whole_value, x, y, added.children[element], modified.children[element], removed.children[element]);
      const bool counts = any.is_null() || (any.is_object() && any.as_object().empty()) || !m.named;
      if (x == nullptr && counts) added.children[element].member = true;
      if (y == nullptr && counts) removed.children[element].member = true;
    };
    for (const auto& [name, x] : b) visit(name, &x, a.find(name));
    for (const auto& [name, y] : a) {
      if (!b.contains(name)) visit(name, nullptr, &y);
    }
    return;
  }
  if (!atomic && schema.kind == Kind::kArray && before->is_array() && after->is_array()) {
    const auto b = items_by_element(schema, *before);
    const auto a = items_by_element(schema, *after);
    const bool keyed = schema.list_type == ListType::kMap && schema.element != nullptr;
    auto visit = [&](const std::string& element, const Value* x, const Value* y) {
      if (keyed) {
        compare_values(*schema.element, whole(*schema.element), x, y, added.children[element], modified.children[element],
                       removed.children[element]);
      }
      if (x == nullptr) added.children[element].member = true;
      if (y == nullptr) removed.children[element].member = true;
    };
    for (const auto& [element, x] : b) {
      auto it = a.find(element);
      visit(element, x, it == a.end() ? nullptr : it->second);
    }
    for (const auto& [element, y] : a) {
      if (!b.contains(element)) visit(element, nullptr, y);
    }
    return;
  }
  modified.member = true;
}

Result<Value> merge_values(const Schema& schema, bool atomic, const Value& live, const Value& applied) {
  if (atomic || applied.is_null()) return applied;
  if (is_map_like(schema, applied) && live.is_object()) {
    Value out = live;
    for (const auto& [name, v] : applied.as_object()) {
      const Member m = member_of(schema, name);
      const Value* have = live.get(name);
      if (have == nullptr) {
        out.as_object().set(name, v);
      } else {
        ENGENHO_ASSIGN(Value merged, merge_values(*m.schema, atomic_value(m, v) || atomic_value(m, *have), *have, v));
        out.as_object().set(name, std::move(merged));
      }
    }
    return out;
  }
  if (schema.kind == Kind::kArray && applied.is_array() && live.is_array()) {
    const auto mine = items_by_element(schema, live);
    const auto theirs = items_by_element(schema, applied);
    json::Array out;
    // Items of the applied list in its order; those only in the live list keep their place before the item that followed them.
    std::vector<std::string> live_order, applied_order;
    for (const Value& item : live.as_array()) live_order.push_back(item_element(schema, item));
    for (const Value& item : applied.as_array()) applied_order.push_back(item_element(schema, item));
    std::map<std::string, size_t> applied_at;
    for (size_t i = 0; i < applied_order.size(); ++i) applied_at.emplace(applied_order[i], i);
    auto emit_applied = [&](size_t i) -> Status {
      const std::string& element = applied_order[i];
      auto it = mine.find(element);
      if (it != mine.end() && schema.list_type == ListType::kMap && schema.element != nullptr) {
        auto merged = merge_values(*schema.element, whole(*schema.element), *it->second, applied.as_array()[i]);
        if (!merged) return merged.error();
        out.push_back(std::move(*merged));
      } else {
        out.push_back(applied.as_array()[i]);
      }
      return {};
    };
    size_t next = 0;
    std::map<std::string, bool> emitted;
    // A shared item appears when its turn in the applied order comes; live-only items keep the live order around them.
    std::vector<std::string> shared;
    for (const std::string& e : live_order) {
      if (applied_at.contains(e)) shared.push_back(e);
    }
    for (size_t l = 0; l < live_order.size(); ++l) {
      const std::string& element = live_order[l];
      auto at = applied_at.find(element);
      if (at == applied_at.end()) {
        out.push_back(live.as_array()[l]);
        continue;
      }
      while (next <= at->second && next < applied_order.size()) {
        if (!emitted[applied_order[next]]) {
          emitted[applied_order[next]] = true;
          ENGENHO_TRY(emit_applied(next));
        }
        ++next;
      }
    }
    for (; next < applied_order.size(); ++next) {
      if (!emitted[applied_order[next]]) {
        emitted[applied_order[next]] = true;
        ENGENHO_TRY(emit_applied(next));
      }
    }
    return Value(std::move(out));
  }
  return applied;
}

Value remove_from(const Schema& schema, const Value& value, const FieldSet& fields) {
  if (is_map_like(schema, value)) {
    Value out = value;
    for (const auto& [element, child] : fields.children) {
      if (!element.starts_with("f:")) continue;
      const std::string name = element.substr(2);
      Value* v = out.get(name);
      if (v == nullptr) continue;
      if (child.member) {
        out.as_object().erase(name);
      } else {
        const Member m = member_of(schema, name);
        if (atomic_value(m, *v)) continue;
        *v = remove_from(*m.schema, *v, child);
      }
    }
    return out;
  }
  if (schema.kind == Kind::kArray && value.is_array() && !whole(schema)) {
    json::Array out;
    for (const Value& item : value.as_array()) {
      auto it = fields.children.find(item_element(schema, item));
      if (it == fields.children.end()) out.push_back(item);
      else if (it->second.member) continue;
      else if (schema.element != nullptr) out.push_back(remove_from(*schema.element, item, it->second));
    }
    return Value(std::move(out));
  }
  return value;
}

// What structured-merge-diff says of a value that its schema does not allow; Go's own names for the values.
Status wrong(const std::string& path, std::string what) { return Status(500, "", path + ": " + std::move(what)); }
std::string go_type(const Value& v) {
  switch (v.type()) {
    case json::Type::kBool: return "bool";
    case json::Type::kInt: return "int64";
    case json::Type::kDouble: return "float64";
    case json::Type::kString: return "string";
    case json::Type::kArray: return "[]interface {}";
    case json::Type::kObject: return "map[string]interface {}";
    default: return "<nil>";
  }
}
std::string unstructured(const Value& v) { return "&value.valueUnstructured{Value:" + (v.is_string() ? json::dump(v) : go_map_text(v)) + "}"; }

Status check_scalar(const Schema& schema, const Value& v, const std::string& path) {
  switch (schema.kind) {
    case Kind::kString:
    case Kind::kBytes: return v.is_string() ? Status() : wrong(path, "expected string, got " + unstructured(v));
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kDouble: return v.is_number() ? Status() : wrong(path, "expected numeric (int or float), got " + go_type(v));
    case Kind::kBool: return v.is_bool() ? Status() : wrong(path, "expected boolean, got &{" + go_map_text(v) + "}");
    default: return {};
  }
}

Status check_values(const Schema& schema, bool atomic, const Value& value, const std::string& path) {
  if (value.is_null()) return {};
  if (schema.kind == Kind::kObject || schema.kind == Kind::kMap) {
    if (!value.is_object()) return wrong(path, "expected map, got &{" + go_map_text(value) + "}");
    for (const auto& [name, v] : value.as_object()) {
      if (schema.kind == Kind::kObject && !schema.preserve_unknown && schema.field(name) == nullptr) {
        return wrong(path + "." + name, "field not declared in schema");
      }
      const Member m = member_of(schema, name);
      if (!v.is_null()) ENGENHO_RETURN_IF_ERROR(check_values(*m.schema, atomic_value(m, v), v, path + "." + name));
    }
    return {};
  }
  if (schema.kind == Kind::kArray) {
    if (!value.is_array()) return wrong(path, "expected list, got &{" + go_map_text(value) + "}");
    const bool associative = !whole(schema);
    std::map<std::string, bool> seen;
    size_t i = 0;
    for (const Value& item : value.as_array()) {
      std::string at = path + "[" + std::to_string(i) + "]";
      if (associative) {
        if (schema.list_type == ListType::kMap && !item.is_object()) {
          return wrong(path, "element " + std::to_string(i) + ": associative list with keys may not have non-map elements");
        }
        std::string problem;
        const std::string element = item_element(schema, item, &problem);
        if (element.empty()) return wrong(path, "element " + std::to_string(i) + ": " + problem);
        std::string text = FieldSet::element_text(element);
        at = path + text;
        if (seen[element]) return wrong(path, "duplicate entries for key " + text);
        seen[element] = true;
      }
      if (schema.element != nullptr) ENGENHO_RETURN_IF_ERROR(check_values(*schema.element, whole(*schema.element), item, at));
      ++i;
    }
    return {};
  }
  return check_scalar(schema, value, path);
}

}  // namespace

bool FieldSet::empty() const { return !member && children.empty(); }
void FieldSet::prune() { drop_empty(*this); }

std::string FieldSet::element_text(std::string_view element) {
  const std::string_view rest = element.substr(2);
  if (element.starts_with("f:")) return "." + std::string(rest);
  if (element.starts_with("i:")) return "[" + std::string(rest) + "]";
  if (element.starts_with("v:")) return "[=" + std::string(rest) + "]";
  std::string out = "[";
  if (auto keys = json::parse(rest)) {
    bool first = true;
    for (const auto& [name, v] : keys->members()) {
      if (!first) out += ",";
      first = false;
      out += name + "=" + json::dump(v);
    }
  }
  return out + "]";
}

Result<FieldSet> FieldSet::from_json(const Value& fields) {
  FieldSet out;
  if (!fields.is_object()) return err(bad_request("fieldsV1 is not an object"));
  for (const auto& [element, child] : fields.as_object()) {
    if (element == ".") {
      out.member = true;
      continue;
    }
    if (element.size() < 2 || element[1] != ':' || std::string_view("fkvi").find(element[0]) == std::string_view::npos) {
      return err(bad_request("fieldsV1 has a path element of unknown kind: " + element));
    }
    std::string canonical = element;
    if (element[0] == 'k' || element[0] == 'v') {
      ENGENHO_ASSIGN(Value parsed, json::parse(std::string_view(element).substr(2)));
      canonical = element.substr(0, 2) + json::dump(parsed);
    }
    ENGENHO_ASSIGN(FieldSet inner, from_json(child));
    if (inner.children.empty()) inner.member = true;
    out.children.emplace(std::move(canonical), std::move(inner));
  }
  return out;
}

Value FieldSet::to_json() const {
  Value out = json::Object();
  for (const auto& [element, child] : children) {
    Value inner = child.to_json();
    if (child.member && !child.children.empty()) inner["."] = json::Object();
    out.as_object().set(element, std::move(inner));
  }
  return out;
}

FieldSet FieldSet::unite(const FieldSet& other) const {
  FieldSet out = *this;
  out.member = member || other.member;
  for (const auto& [element, child] : other.children) {
    auto [it, fresh] = out.children.try_emplace(element, child);
    if (!fresh) it->second = it->second.unite(child);
  }
  return out;
}

FieldSet FieldSet::intersect(const FieldSet& other) const {
  FieldSet out;
  out.member = member && other.member;
  for (const auto& [element, child] : children) {
    auto it = other.children.find(element);
    if (it != other.children.end()) out.children.emplace(element, child.intersect(it->second));
  }
  out.prune();
  return out;
}

FieldSet FieldSet::subtract(const FieldSet& other) const {
  FieldSet out;
  out.member = member && !other.member;
  for (const auto& [element, child] : children) {
    auto it = other.children.find(element);
    out.children.emplace(element, it == other.children.end() ? child : child.subtract(it->second));
  }
  out.prune();
  return out;
}

FieldSet FieldSet::subtract_recursive(const FieldSet& other) const {
  FieldSet out;
  if (other.member) return out;
  out.member = member;
  for (const auto& [element, child] : children) {
    auto it = other.children.find(element);
    out.children.emplace(element, it == other.children.end() ? child : child.subtract_recursive(it->second));
  }
  out.prune();
  return out;
}

void FieldSet::insert(const std::vector<std::string>& path) {
  FieldSet* at = this;
  for (const std::string& element : path) at = &at->children[element];
  at->member = true;
}

FieldSet fields_of(const Schema& schema, const Value& document) {
  FieldSet out;
  collect(schema, document, false, out);
  drop_empty(out);
  return out;
}

Comparison compare(const Schema& schema, const Value& before, const Value& after) {
  Comparison out;
  compare_values(schema, false, &before, &after, out.added, out.modified, out.removed);
  drop_empty(out.added);
  drop_empty(out.modified);
  drop_empty(out.removed);
  return out;
}

Result<Value> merge_typed(const Schema& schema, const Value& live, const Value& applied) {
  return merge_values(schema, false, live, applied);
}

Value remove_items(const Schema& schema, const Value& document, const FieldSet& fields) {
  return remove_from(schema, document, fields);
}

FieldSet ensure_named_fields(const Schema& schema, const FieldSet& fields) {
  FieldSet out;
  out.member = fields.member;
  for (const auto& [element, child] : fields.children) {
    const Schema* inner = &kUntyped;
    bool named = false;
    if (element.starts_with("f:")) {
      const Member m = member_of(schema, std::string_view(element).substr(2));
      inner = m.schema;
      named = m.named;
    } else if (schema.kind == Kind::kArray && schema.element != nullptr) {
      inner = schema.element;
    }
    FieldSet next = ensure_named_fields(*inner, child);
    if (named && !next.children.empty()) next.member = true;
    out.children.emplace(element, std::move(next));
  }
  return out;
}

Status check_typed(const Schema& schema, const Value& document) { return check_values(schema, false, document, ""); }

}  // namespace engenho::schema
