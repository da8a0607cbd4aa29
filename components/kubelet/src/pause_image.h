// The pause image, made of the program that travels inside the executable.
#pragma once

#include <string>

namespace engenho::kubelet {

inline constexpr const char* kPauseImage = "localhost/engenho/pause:1";
// A docker-archive: layer, configuration and manifest. Equal bytes every time.
std::string pause_image_tar();

}  // namespace engenho::kubelet
