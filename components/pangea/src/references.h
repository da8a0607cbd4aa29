// What a template may refer to. Whoever may write templates in one namespace has the operator read and write for him: without a rule, Secrets of every
// namespace would be his. So a reference that leaves the template's namespace is refused, unless the PangeaNamespace (which only cluster
// administrators write) names that namespace in spec.allowedReferenceNamespaces.
#pragma once

#include <string>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/catalog/pangea_v1.h"

namespace engenho::pangea {

namespace pangea_v1 = k8s::pangea_v1;

struct Reference {
  std::string field;       // "spec.secretFiles[0].secretRef"
  std::string namespace_;  // never empty: the template's own when none is written
};

// All of a template's spec, its routes of news among them.
std::vector<Reference> references_of(const pangea_v1::InfrastructureTemplate& object);

// Errors: Forbidden, with the field and what would allow it; of a template in a namespace that `place` is not for, too. `place` may be null: then
// nothing but the template's own namespace is allowed.
Status check_references(const pangea_v1::InfrastructureTemplate& object, const pangea_v1::PangeaNamespace* place);

}  // namespace engenho::pangea
