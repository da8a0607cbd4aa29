// What decode.cc, defaults.cc and protobuf.cc share about Go's zero values.
#pragma once

#include "engenho/base/json.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

// Types that Go's omitempty never omits unless behind a pointer: structs, also those with a JSON form of their own.
bool is_go_struct(const Schema& schema);
// How the Go zero value of the type prints: "" , 0, null for lists and maps, an object of such fields.
json::Value zero_value(const Schema& schema);
// Whether `value`, in normal form, is the Go zero value of the type.
bool is_zero(const Schema& schema, const json::Value& value);
// Whether Go leaves the field out when it holds `value`.
bool is_omitted(const Field& field, const json::Value& value);
// Whether Go writes the field, as its zero value, when a document did not have it.
bool is_written_when_absent(const Field& field);

}  // namespace engenho::schema
