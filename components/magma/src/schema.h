// Provider schemas, of plugins and of built-in providers alike.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "value.h"

namespace engenho::magma {

struct Block;
enum class Nesting { kSingle, kList, kSet, kMap, kGroup };

struct Attribute {
  std::string name;
  Type type;                               // for a nested attribute: implied by it
  bool required = false, optional = false, computed = false, sensitive = false, write_only = false;
  std::shared_ptr<const Block> nested;     // protocol 6 nested_type: attributes only
  Nesting nesting = Nesting::kSingle;
};

struct NestedBlock {
  std::string name;
  std::shared_ptr<const Block> block;
  Nesting nesting = Nesting::kList;
  int64_t min_items = 0, max_items = 0;
};

struct Block {
  std::vector<Attribute> attributes;
  std::vector<NestedBlock> blocks;

  const Attribute* attribute(std::string_view name) const;
  const NestedBlock* block(std::string_view name) const;
  // The object type of values of this block; kept after the first call of seal().
  const Type& type() const { return type_; }
  void seal();   // call once after filling, before use
  static Type nested_type(const Type& object, Nesting nesting);

 private:
  Type type_;
};

struct ResourceSchema {
  int64_t version = 0;
  Block block;
};

struct ProviderSchema {
  Block provider;
  std::map<std::string, ResourceSchema, std::less<>> resources, data_sources;
  bool plan_destroy = false;   // the provider wants to see planned deletions
};

// Marks what the schema says is sensitive.
Value mark_by_schema(const Value& value, const Block& block);
// A value of the block in which everything is null, and blocks that hold collections are empty.
Value empty_value(const Block& block);
// Prior values for what is computed and not configured: the provider's starting point of a plan.
Value proposed_new(const Block& block, const Value& prior, const Value& config);
// Whether the plan follows the configuration and the prior state. Each string is a violation.
std::vector<std::string> plan_violations(const Block& block, const Value& prior, const Value& config, const Value& planned);
// Whether `actual` is what `planned` announced: known parts equal. Values are not quoted.
std::vector<std::string> result_violations(const Block& block, const Value& planned, const Value& actual);
// Unknown where the block is computed: what a data source that is read later, or a failed plan, is.
Value unknown_computed(const Block& block, const Value& config);

}  // namespace engenho::magma
