// The Go-typed normal form of a JSON document: what upstream's decoder would keep of it and how it would print it again.
// Behaviour: encoding/json with case-sensitive names, sigs.k8s.io/json strict mode, the types' own JSON methods.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/schema/schema.h"

namespace engenho::schema {

struct DecodeOptions {
  // Unknown fields are collected as `unknown field "spec.foo"`, at most this many; 0: not collected. They are dropped anyway.
  size_t max_unknown = 100;
};

// Checks the types in `document` and brings it to the normal form of `schema`, in place: unknown fields and nulls dropped, zero
// values dropped where Go omits them and written where Go always writes them, quantities canonical, times in UTC.
// Appends the strict errors (unknown fields, in the order of the sorted document) to `unknown` unless null.
// Errors: BadRequest, whose message is Go's own ("json: cannot unmarshal string into Go struct field
// DeploymentSpec.spec.replicas of type int32"). `document` is unspecified after an error.
Status decode(const Schema& schema, json::Value& document, std::vector<std::string>* unknown = nullptr,
              const DecodeOptions& options = {});

// Puts strict errors of a JSON body in the order in which upstream reports them: that of the fields in `json_text`. `unknown` is what decode()
// gave, `duplicate_keys` what json::parse_with_duplicates did; the result holds `unknown field "..."` and `duplicate field "..."`, each once.
// (YAML bodies need no such order: upstream sorts them too.)
std::vector<std::string> strict_errors_in_order(std::string_view json_text, const std::vector<std::string>& unknown,
                                                const std::vector<std::string>& duplicate_keys);

// The Go-typed output form of a document already decoded and then changed (defaults, patches): the same normalisation without
// complaints; values of a wrong type stay.
void normalize(const Schema& schema, json::Value& document);

// Custom resources: drops the fields that `schema` does not know (pruning); collects their paths in strict form.
void prune(const Schema& schema, json::Value& document, std::vector<std::string>* unknown = nullptr,
           const DecodeOptions& options = {});

}  // namespace engenho::schema
