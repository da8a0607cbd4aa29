#include "pause_image.h"

#include <cstdio>
#include <cstring>
#include <string_view>

#include "engenho/base/bytes.h"
#include "engenho/base/json.h"

__asm__(
    ".section .rodata\n"
    ".global engenho_pause_begin\n"
    ".global engenho_pause_end\n"
    "engenho_pause_begin:\n"
    ".incbin \"" ENGENHO_PAUSE_FILE "\"\n"
    "engenho_pause_end:\n"
    ".byte 0\n"
    ".previous\n");
extern "C" const char engenho_pause_begin[], engenho_pause_end[];

namespace engenho::kubelet {

namespace {

// One file in ustar form (POSIX.1-1988): a header block, the content, padding to 512 bytes.
void add_file(std::string& tar, const std::string& name, std::string_view content, unsigned mode) {
  char head[512] = {};
  std::snprintf(head, 100, "%s", name.c_str());
  std::snprintf(head + 100, 8, "%07o", mode);
  std::snprintf(head + 108, 8, "%07o", 0u);
  std::snprintf(head + 116, 8, "%07o", 0u);
  std::snprintf(head + 124, 12, "%011zo", content.size());
  std::snprintf(head + 136, 12, "%011o", 0u);
  head[156] = '0';
  memcpy(head + 257, "ustar\00000", 8);
  memset(head + 148, ' ', 8);
  unsigned sum = 0;
  for (char c : head) sum += static_cast<unsigned char>(c);
  std::snprintf(head + 148, 7, "%06o", sum);
  tar.append(head, sizeof head);
  tar.append(content);
  tar.append((512 - content.size() % 512) % 512, '\0');
}

}  // namespace

std::string pause_image_tar() {
  const std::string_view program(engenho_pause_begin, static_cast<size_t>(engenho_pause_end - engenho_pause_begin));
  std::string layer;
  add_file(layer, "pause", program, 0755);
  layer.append(1024, '\0');

  json::Value config = json::Object();
#if defined(__aarch64__)
  config["architecture"] = "arm64";
#else
  config["architecture"] = "amd64";
#endif
  config["os"] = "linux";
  config["created"] = "1970-01-01T00:00:00Z";
  config["config"]["Entrypoint"] = json::Array{"/pause"};
  config["config"]["User"] = "65535:65535";
  config["rootfs"]["type"] = "layers";
  config["rootfs"]["diff_ids"] = json::Array{"sha256:" + sha256_hex(layer)};
  const std::string config_text = json::dump(config), config_name = sha256_hex(config_text) + ".json";

  json::Value entry = json::Object();
  entry["Config"] = config_name;
  entry["RepoTags"] = json::Array{kPauseImage};
  entry["Layers"] = json::Array{"layer.tar"};
  std::string tar;
  add_file(tar, config_name, config_text, 0644);
  add_file(tar, "layer.tar", layer, 0644);
  add_file(tar, "manifest.json", json::dump(json::Value(json::Array{entry})), 0644);
  tar.append(1024, '\0');
  return tar;
}

}  // namespace engenho::kubelet
