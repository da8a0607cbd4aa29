#pragma once

namespace engenho {

inline constexpr const char* kVersion = "0.1.0";
inline constexpr const char* kKubernetesVersion = "v1.36.2+engenho";

}  // namespace engenho
