// Defaults that the schema carries: absent fields are filled in, inside list items and map values too. An absent object is
// created only where the schema itself gives it a default ({}), never merely to fill it.
#pragma once

#include "engenho/base/json.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

void apply_defaults(const Schema& schema, json::Value& document);
// The default of one field as a value; null when it has none.
json::Value default_of(const Field& field);

}  // namespace engenho::schema
