#include "builtin.h"
namespace engenho::magma {
BuiltinProvider tls_provider() { return {}; }
}  // namespace engenho::magma
