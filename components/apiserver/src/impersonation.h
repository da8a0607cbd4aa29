// Acting as somebody else, and the texts of refusals.
#pragma once

#include "authorizer.h"
#include "context.h"

namespace engenho::apiserver {

// Replaces context.user when Impersonate-* headers ask for it and the user may. Errors: Forbidden, InternalError for headers
// that make no sense.
Status impersonate(Context& context, Authorizer& authorizer);
Status forbidden_status(const RequestInfo& info, const UserInfo& user, std::string_view reason);

}  // namespace engenho::apiserver
