// Sets of paths into a document, as managedFields keep them (fieldsV1), and the operations of server-side apply on them.
// Specified by sigs.k8s.io/structured-merge-diff; a path element is a field name "f:", a list key "k:{...}", a set value
// "v:..." or an index "i:".
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

// A tree keyed by the serialised path element ("f:metadata", "k:{\"name\":\"a\"}"). Each node may be a member itself and may
// have children.
class FieldSet {
 public:
  bool empty() const;
  bool member = false;  // the path that leads here belongs to the set
  std::map<std::string, FieldSet, std::less<>> children;

  static Result<FieldSet> from_json(const json::Value& fields_v1);
  json::Value to_json() const;

  FieldSet unite(const FieldSet& other) const;
  FieldSet intersect(const FieldSet& other) const;
  FieldSet subtract(const FieldSet& other) const;            // removes exact members
  FieldSet subtract_recursive(const FieldSet& other) const;  // and everything below them
  bool operator==(const FieldSet& other) const = default;
  void insert(const std::vector<std::string>& path);
  // "f:a" as ".a", "k:{...}" as "[name=\"x\"]".
  static std::string element_text(std::string_view element);
  // Calls `fn(path)` for each member in order; path in the text form of error messages, ".spec.containers[name=\"a\"].image".
  template <typename Fn>
  void each(Fn fn) const {
    std::string path;
    walk(path, fn);
  }

 private:
  void prune();
  template <typename Fn>
  void walk(std::string& path, Fn& fn) const {
    // The members of one level come before what is below any of them: the order in which conflicts are listed.
    const size_t length = path.size();
    for (const auto& [element, child] : children) {
      if (!child.member) continue;
      path += element_text(element);
      fn(path);
      path.resize(length);
    }
    for (const auto& [element, child] : children) {
      path += element_text(element);
      child.walk(path, fn);
      path.resize(length);
    }
  }
};

// All fields of a document (leaves, list items, empty maps).
FieldSet fields_of(const Schema& schema, const json::Value& document);

struct Comparison {
  FieldSet added, modified, removed;
  bool same() const { return added.empty() && modified.empty() && removed.empty(); }
};
Comparison compare(const Schema& schema, const json::Value& before, const json::Value& after);

// The applied configuration merged onto the live document. Error: duplicate list keys or missing ones (500, upstream's text).
Result<json::Value> merge_typed(const Schema& schema, const json::Value& live, const json::Value& applied);
// Takes the members of `fields` (and what is below them) out of the document.
json::Value remove_items(const Schema& schema, const json::Value& document, const FieldSet& fields);
// Adds to a set the named fields on the way to its members, which remove_items needs to take out whole objects.
FieldSet ensure_named_fields(const Schema& schema, const FieldSet& fields);
// Duplicate keys in list maps and sets, as apply refuses them. Field paths as upstream prints.
Status check_typed(const Schema& schema, const json::Value& document);

}  // namespace engenho::schema
