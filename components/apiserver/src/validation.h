// What the files of per-kind validation share. Paths are dotted text as in the errors a client sees.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/schema/api_errors.h"
#include "engenho/schema/names.h"
#include "resource_table.h"

namespace engenho::apiserver::validation {

using json::Value;
using schema::FieldErrors;
using schema::FieldErrorType;

inline std::string operator/(const std::string& path, std::string_view member) { return schema::child(path, member); }
inline std::string at(const std::string& path, size_t i) { return schema::index(path, i); }

// One Invalid for each message.
void messages(FieldErrors& errors, const std::string& path, const Value& value, const schema::Messages& list);
// Unlike FieldErrors::not_supported: in the order given, which is how some kinds list them.
void unsupported(FieldErrors& errors, const std::string& path, const Value& value, std::initializer_list<std::string_view> supported);
// Unsupported unless the text is one of them (an absent member is the empty text).
bool one_of(FieldErrors& errors, const std::string& path, std::string_view value, std::initializer_list<std::string_view> supported);
void nonnegative(FieldErrors& errors, const std::string& path, const Value* value);
bool is_set(const Value* v);  // there, and not null
int64_t number(const Value& object, std::string_view member, int64_t otherwise = 0);
bool flag(const Value& object, std::string_view member);
const json::Array& list(const Value& object, std::string_view member);
// A port as number or name; what is absent counts as 0.
void port_number_or_name(FieldErrors& errors, const std::string& path, const Value* value);
// A number or percentage.
void number_or_percent(FieldErrors& errors, const std::string& path, const Value& value);
void not_above_100_percent(FieldErrors& errors, const std::string& path, const Value& value);
// The selector as it stands matches the labels. An absent one matches nothing.
bool selector_matches(const Value* selector, const Value* labels);
// Invalid "field is immutable" unless equal.
void immutable(FieldErrors& errors, const std::string& path, const Value* now, const Value* old);
// A file mode of a volume.
void file_mode(FieldErrors& errors, const std::string& path, const Value* mode);
void node_selector(FieldErrors& errors, const std::string& path, const Value& selector);
// A relative path without "..".
void descending_path(FieldErrors& errors, const std::string& path, std::string_view text);
// Requests and limits of a container, a volume claim has its own. `claims` are the pod's resource claims' names.
void container_resources(FieldErrors& errors, const std::string& path, const Value* resources, const std::vector<std::string>& claims);
void tolerations(FieldErrors& errors, const std::string& path, const json::Array& items);
void affinity(FieldErrors& errors, const std::string& path, const Value* affinity);
void topology_spread(FieldErrors& errors, const std::string& path, const json::Array& items);
void pod_security(FieldErrors& errors, const std::string& path, const Value& spec);
void container_security(FieldErrors& errors, const std::string& path, const Value* context, bool host_users);
void volumes(FieldErrors& errors, const std::string& path, const json::Array& items, const Value& metadata);
void volume_mounts(FieldErrors& errors, const std::string& path, const Value& container, const json::Array& volumes);
void env_sources(FieldErrors& errors, const std::string& path, const Value& container);

// A pod's spec, wherever it stands.
void pod_spec(FieldErrors& errors, const std::string& path, const Value& spec, const Value& metadata);
// Labels, annotations and spec of a template; a template's containers are never ephemeral.
void pod_template(FieldErrors& errors, const std::string& path, const Value& pod_template);

void create_pod(FieldErrors& errors, const Value& object);
void update_pod(FieldErrors& errors, std::string_view subresource, const Value& object, const Value& old);
// Each returns whether the kind is its own. `old` is null for a create.
void custom(FieldErrors& errors, const ResourceDef& resource, std::string_view subresource, const Value& object, const Value* old);
// Objects of pangea.pleme.io, in the version that the client wrote.
void pangea(FieldErrors& errors, const ResourceDef& resource, const Value& object);
void immutable_fields(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value& old);
void certificate_request(FieldErrors& errors, const Value& object);
void certificate_request_update(FieldErrors& errors, std::string_view subresource, const Value& object, const Value& old);
void limit_range(FieldErrors& errors, const Value& object);
bool status_rules(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value& old);
bool workloads(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old);
bool core(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old);
bool policy(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old);

}  // namespace engenho::apiserver::validation
