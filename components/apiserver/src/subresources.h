// Subresources and virtual kinds that are not views of the stored object: scale, binding, eviction, token, and the reviews.
#pragma once

#include <memory>

#include "authenticator.h"
#include "authorizer.h"
#include "handlers.h"

namespace engenho::apiserver {

struct Security {
  Authenticator& authenticator;
  Authorizer& authorizer;
};

void handle_scale(const std::shared_ptr<Context>& context, Services& services);
void handle_binding(const std::shared_ptr<Context>& context, Services& services, const std::string& pod_name);
void handle_eviction(const std::shared_ptr<Context>& context, Services& services);
void handle_token(const std::shared_ptr<Context>& context, Services& services, Security& security);
// tokenreviews, (local|self)subjectaccessreviews, selfsubjectrulesreviews, selfsubjectreviews.
void handle_review(const std::shared_ptr<Context>& context, Services& services, Security& security);

}  // namespace engenho::apiserver
