#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/schema/patch.h"

namespace engenho::schema {

namespace {

using json::Value;

constexpr size_t kMaxOperations = 10'000;
constexpr size_t kMaxCopied = 3 << 20;  // bytes of JSON that the copies of one patch may add; a few of them could double a document without end

Status rejected(std::string why) {
  (void)why;  // upstream hides the cause behind one fixed text
  StatusDetails details;
  details.causes.emplace_back();
  return Status(422, reason::kInvalid, "the server rejected our request due to an error in our request", std::move(details));
}

std::vector<std::string> pointer_parts(std::string_view pointer) {
  std::vector<std::string> out;
  if (pointer.empty()) return out;
  pointer.remove_prefix(pointer[0] == '/' ? 1 : 0);
  for (std::string_view part : split(pointer, '/')) {
    std::string text;
    for (size_t i = 0; i < part.size(); ++i) {
      if (part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1')) {
        text += part[++i] == '0' ? '~' : '/';
      } else {
        text += part[i];
      }
    }
    out.push_back(std::move(text));
  }
  return out;
}

// The position `text` names in a list of `size` elements; negative numbers count from the end. -1: no such position.
int64_t list_index(std::string_view text, size_t size) {
  int64_t i;
  if (!parse_int(text, i)) return -1;
  if (i < 0) i += static_cast<int64_t>(size);
  return i >= 0 && i < static_cast<int64_t>(size) ? i : -1;
}

Value* find(Value& root, const std::vector<std::string>& parts, size_t count) {
  Value* at = &root;
  for (size_t i = 0; i < count; ++i) {
    if (at->is_object()) {
      at = at->get(parts[i]);
    } else if (at->is_array()) {
      const int64_t n = list_index(parts[i], at->as_array().size());
      at = n < 0 ? nullptr : &at->as_array()[static_cast<size_t>(n)];
    } else {
      at = nullptr;
    }
    if (at == nullptr) return nullptr;
  }
  return at;
}

Status add(Value& root, const std::vector<std::string>& parts, Value value) {
  if (parts.empty()) {
    root = std::move(value);
    return {};
  }
  Value* parent = find(root, parts, parts.size() - 1);
  if (parent == nullptr) return rejected("path does not exist");
  const std::string& last = parts.back();
  if (parent->is_object()) {
    parent->as_object().set(last, std::move(value));
    return {};
  }
  if (!parent->is_array()) return rejected("parent is no container");
  json::Array& items = parent->as_array();
  if (last == "-") {
    items.push_back(std::move(value));
    return {};
  }
  const int64_t i = list_index(last, items.size() + 1);
  if (i < 0) return rejected("index out of bounds");
  items.insert(items.begin() + i, std::move(value));
  return {};
}

Status remove(Value& root, const std::vector<std::string>& parts, Value* removed) {
  if (parts.empty()) return rejected("cannot remove the whole document");
  Value* parent = find(root, parts, parts.size() - 1);
  if (parent == nullptr) return rejected("path does not exist");
  if (parent->is_object()) {
    Value* found = parent->get(parts.back());
    if (found == nullptr) return rejected("key does not exist");
    if (removed != nullptr) *removed = std::move(*found);
    parent->as_object().erase(parts.back());
    return {};
  }
  if (!parent->is_array()) return rejected("parent is no container");
  json::Array& items = parent->as_array();
  const int64_t i = list_index(parts.back(), items.size());
  if (i < 0) return rejected("index out of bounds");
  if (removed != nullptr) *removed = std::move(items[static_cast<size_t>(i)]);
  items.erase(items.begin() + i);
  return {};
}

}  // namespace

Status apply_json_patch(Value& document, const Value& patch) {
  if (patch.is_null()) return {};
  if (!patch.is_array()) {
    return bad_request("error decoding patch: json: cannot unmarshal " + std::string(patch.is_number() ? "number" : json::type_name(patch.type())) +
                       " into Go value of type []handlers.jsonPatchOp");
  }
  if (patch.as_array().size() > kMaxOperations) {
    return Status(413, reason::kRequestEntityTooLarge,
                  "Request entity too large: The allowed maximum operations in a JSON patch is " + std::to_string(kMaxOperations) + ", got " +
                      std::to_string(patch.as_array().size()));
  }
  size_t copied = 0;
  for (const Value& operation : patch.as_array()) {
    auto wrong = [](const Value& v, const std::string& what) {
      return bad_request("error decoding patch: json: cannot unmarshal " + std::string(v.is_number() ? "number" : json::type_name(v.type())) + " into Go " + what);
    };
    if (!operation.is_object() && !operation.is_null()) return wrong(operation, "value of type handlers.jsonPatchOp");
    for (const char* member : {"op", "path", "from"}) {
      const Value* v = operation.get(member);
      if (v != nullptr && !v->is_string() && !v->is_null()) return wrong(*v, "struct field jsonPatchOp." + std::string(member) + " of type string");
    }
  }
  for (const Value& operation : patch.as_array()) {
    const std::string_view op = operation.str_at({"op"});
    const std::vector<std::string> path = pointer_parts(operation.str_at({"path"}));
    const Value* given = operation.get("value");
    Value value = given != nullptr ? *given : Value("");
    if (op == "add") {
      ENGENHO_RETURN_IF_ERROR(add(document, path, std::move(value)));
    } else if (op == "remove") {
      ENGENHO_RETURN_IF_ERROR(remove(document, path, nullptr));
    } else if (op == "replace") {
      if (path.empty()) {
        document = std::move(value);
        continue;
      }
      Value* parent = find(document, path, path.size() - 1);
      if (parent == nullptr) return rejected("path does not exist");
      if (parent->is_object()) {
        parent->as_object().set(path.back(), std::move(value));
      } else if (Value* slot = find(document, path, path.size())) {
        *slot = std::move(value);
      } else {
        return rejected("path does not exist");
      }
    } else if (op == "move" || op == "copy") {
      const std::vector<std::string> from = pointer_parts(operation.str_at({"from"}));
      Value moved;
      if (operation.get("from") == nullptr && op == "copy") {
        moved = "";
      } else if (op == "move") {
        ENGENHO_RETURN_IF_ERROR(remove(document, from, &moved));
      } else {
        const Value* source = find(document, from, from.size());
        if (source == nullptr) return rejected("from does not exist");
        copied += json::dump(*source).size();
        if (copied > kMaxCopied) {
          return rejected("Unable to copy, the accumulated size increase of copy is " + std::to_string(copied) + ", exceeding the limit " +
                          std::to_string(kMaxCopied));
        }
        moved = *source;
      }
      ENGENHO_RETURN_IF_ERROR(add(document, path, std::move(moved)));
    } else if (op == "test") {
      const Value* have = find(document, path, path.size());
      const bool wants_null = given == nullptr || given->is_null();
      if (have == nullptr ? !wants_null : wants_null ? !have->is_null() : !(*have == *given)) return rejected("test failed");
    } else {
      return rejected("unexpected kind of operation");
    }
  }
  return {};
}

void apply_merge_patch(Value& document, const Value& patch) {
  if (!patch.is_object()) {
    document = patch;
    return;
  }
  json::Object& members = document.make_object();
  for (const auto& [key, change] : patch.as_object()) {
    if (change.is_null()) {
      members.erase(key);
    } else {
      apply_merge_patch(members[key], change);
    }
  }
}

}  // namespace engenho::schema
