// The rules for names, labels and annotations, as lists of messages (empty: valid). Behaviour: apimachinery's
// util/validation and api/validation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/schema/api_errors.h"

namespace engenho::schema {

using Messages = std::vector<std::string>;
Messages is_dns1123_label(std::string_view value);
Messages is_dns1123_subdomain(std::string_view value);
Messages is_dns1035_label(std::string_view value);
Messages is_qualified_name(std::string_view value);
Messages is_label_value(std::string_view value);
Messages is_path_segment_name(std::string_view value);  // RBAC names: no "/", no "%", not "." or ".."
Messages is_env_var_name(std::string_view value);
Messages is_config_map_key(std::string_view value);
Messages is_valid_port_name(std::string_view value);
Messages is_valid_port_number(int64_t value);
Messages is_valid_ip(std::string_view value);
bool parse_ip(std::string_view text, std::string* canonical = nullptr, bool* is_v6 = nullptr);  // no leading zeros

void validate_labels(const json::Value* labels, std::string_view path, FieldErrors& errors);
void validate_annotations(const json::Value* annotations, std::string_view path, FieldErrors& errors);
// A metav1.LabelSelector document.
void validate_label_selector(const json::Value* selector, std::string_view path, FieldErrors& errors);

}  // namespace engenho::schema
