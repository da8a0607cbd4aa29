#include "plugin_schema.h"

#include "tfplugin5.pb.h"
#include "tfplugin6.pb.h"

namespace engenho::magma {

namespace {

Result<Nesting> nesting_of(int mode) {   // SINGLE, LIST, SET, MAP, GROUP from 1
  switch (mode) {
    case 1: return Nesting::kSingle;
    case 2: return Nesting::kList;
    case 3: return Nesting::kSet;
    case 4: return Nesting::kMap;
    case 5: return Nesting::kGroup;
    default: return err(bad_request("unknown nesting mode " + std::to_string(mode)));
  }
}

template <typename Pb>
Result<Attribute> convert_attribute(const Pb& from) {
  Attribute a;
  a.name = from.name();
  a.required = from.required();
  a.optional = from.optional();
  a.computed = from.computed();
  a.sensitive = from.sensitive();
  a.write_only = from.write_only();
  if constexpr (requires { from.nested_type(); }) {
    if (from.has_nested_type()) {
      auto inner = std::make_shared<Block>();
      for (const auto& n : from.nested_type().attributes()) {
        ENGENHO_ASSIGN(Attribute attribute, convert_attribute(n));
        inner->attributes.push_back(std::move(attribute));
      }
      inner->seal();
      ENGENHO_ASSIGN(a.nesting, nesting_of(static_cast<int>(from.nested_type().nesting())));
      a.type = Block::nested_type(inner->type(), a.nesting);
      a.nested = std::move(inner);
      return a;
    }
  }
  ENGENHO_ASSIGN(const json::Value type, json::parse(from.type()));
  auto parsed = Type::from_json(type);
  if (!parsed) return err(parsed.error().with_context("attribute " + a.name));
  a.type = *parsed;
  return a;
}

template <typename Pb>
Status convert_block(const Pb& from, Block& to) {
  for (const auto& a : from.attributes()) {
    ENGENHO_ASSIGN_OR_RETURN(Attribute attribute, convert_attribute(a));
    to.attributes.push_back(std::move(attribute));
  }
  for (const auto& n : from.block_types()) {
    NestedBlock b;
    b.name = n.type_name();
    auto inner = std::make_shared<Block>();
    ENGENHO_RETURN_IF_ERROR(convert_block(n.block(), *inner));
    b.block = std::move(inner);
    ENGENHO_ASSIGN_OR_RETURN(b.nesting, nesting_of(static_cast<int>(n.nesting())));
    b.min_items = n.min_items();
    b.max_items = n.max_items();
    to.blocks.push_back(std::move(b));
  }
  to.seal();
  return {};
}

template <typename Pb>
Status convert_all(const Pb& from, ProviderSchema& to) {
  for (const auto& d : from.diagnostics()) {
    if (d.severity() != std::decay_t<decltype(d)>::WARNING) return bad_request("schema: " + d.summary() + ": " + d.detail());
  }
  ENGENHO_RETURN_IF_ERROR(convert_block(from.provider().block(), to.provider));
  auto each = [](const auto& list, auto& into) -> Status {
    for (const auto& [name, schema] : list) {
      ResourceSchema& r = into[name];
      r.version = schema.version();
      if (Status s = convert_block(schema.block(), r.block); !s.ok()) return s.with_context("schema of " + name);
    }
    return {};
  };
  ENGENHO_RETURN_IF_ERROR(each(from.resource_schemas(), to.resources));
  ENGENHO_RETURN_IF_ERROR(each(from.data_source_schemas(), to.data_sources));
  to.plan_destroy = from.server_capabilities().plan_destroy();
  return {};
}

}  // namespace

Status convert_schema(const tfplugin5::GetProviderSchema_Response& from, ProviderSchema& to) { return convert_all(from, to); }
Status convert_schema(const tfplugin6::GetProviderSchema_Response& from, ProviderSchema& to) { return convert_all(from, to); }

}  // namespace engenho::magma
