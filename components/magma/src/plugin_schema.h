// Schemas as plugins send them, in either protocol version.
#pragma once

#include "schema.h"

namespace tfplugin5 {
class GetProviderSchema_Response;
}
namespace tfplugin6 {
class GetProviderSchema_Response;
}

namespace engenho::magma {

Status convert_schema(const tfplugin5::GetProviderSchema_Response& from, ProviderSchema& to);
Status convert_schema(const tfplugin6::GetProviderSchema_Response& from, ProviderSchema& to);

}  // namespace engenho::magma
