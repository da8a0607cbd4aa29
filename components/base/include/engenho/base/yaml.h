// YAML 1.2 text to the document model with the rules Kubernetes clients rely on (YAML 1.1 booleans such as "yes" and "on" stay
// what sigs.k8s.io/yaml makes of them), and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"

namespace engenho::yaml {

// One document. Errors: BadRequest with line and column. Duplicate keys are reported as json::parse_with_duplicates does. Anchors are
// expanded up to `max_nodes` nodes, so that a bomb is an error and not an outage.
Result<json::Parsed> parse(std::string_view text, size_t max_nodes = 1'000'000);
// All documents of a stream ("---" between them); empty documents are left out.
Result<std::vector<json::Value>> parse_all(std::string_view text, size_t max_nodes = 1'000'000);
std::string dump(const json::Value& value);  // block style, keys sorted, trailing newline

}  // namespace engenho::yaml
