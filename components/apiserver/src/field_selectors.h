// Which fields each kind can be selected by, and their values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/schema/selector.h"
#include "object.h"
#include "resource_table.h"

namespace engenho::apiserver {

// Error: BadRequest for a field the kind does not support.
Status check_field_selector(const ResourceDef& resource, const std::vector<schema::FieldRequirement>& requirements);

// What a LIST or WATCH lets through.
struct Filter {
  schema::LabelSelector labels;
  std::vector<schema::FieldRequirement> fields;
  bool everything() const { return labels.everything() && fields.empty(); }
  bool matches(const ResourceDef& resource, const Object& object) const;
};
Result<Filter> filter_of(const ResourceDef& resource, std::string_view label_selector, std::string_view field_selector);

}  // namespace engenho::apiserver
