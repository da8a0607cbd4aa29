// Values as Go prints them in upstream's error texts: in the order of the struct's fields, under their JSON names or their Go names.
#pragma once

#include <string>

#include "engenho/base/json.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

// As encoding/json writes a value of the type: fields in the order of the Go struct. `value` is in normal form (decode.h).
std::string go_json(const Schema& schema, const json::Value& value);
// As encoding/json writes upstream's internal type, which has no JSON names and leaves nothing out: {"Name":"a","Ports":null}. Types of
// apimachinery (ObjectMeta, LabelSelector) keep theirs.
std::string go_internal_json(const Schema& schema, const json::Value& value);
// As fmt prints a decoded JSON value with %v: map[a:1 b:[x y]].
std::string go_map_text(const json::Value& value);

// A value that a FieldError shows as this text, unquoted.
json::Value raw_text(std::string text);
// The text of such a value, or null.
const std::string* raw_text_of(const json::Value& value);

}  // namespace engenho::schema
