// hashicorp/local, as of its version 2.5. Relative names start at the working directory, as upstream's.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "builtin.h"
#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"

namespace engenho::magma {

namespace {

constexpr const char* kHashes[] = {"content_base64sha256", "content_base64sha512", "content_md5", "content_sha1", "content_sha256", "content_sha512"};

Value with_hashes(Value state, const std::string& bytes) {
  const std::string sha256 = digest("SHA256", bytes), sha512 = digest("SHA512", bytes), sha1 = hex_encode(digest("SHA1", bytes));
  return state.with("content_md5", Value::string(hex_encode(digest("MD5", bytes)))).with("content_sha1", Value::string(sha1))
      .with("content_sha256", Value::string(hex_encode(sha256))).with("content_base64sha256", Value::string(base64_encode(sha256)))
      .with("content_sha512", Value::string(hex_encode(sha512))).with("content_base64sha512", Value::string(base64_encode(sha512))).with("id", Value::string(sha1));
}

Result<std::string> content_of(const Value& planned) {
  if (planned.get("content_base64").is_string()) return base64_decode(planned.get("content_base64").as_string());
  if (planned.get("source").is_string()) return read_file(planned.get("source").as_string());
  if (planned.get("sensitive_content").is_string()) return planned.get("sensitive_content").as_string();
  return text_of(planned, "content");
}

mode_t mode_of(const Value& v, const char* name) { return static_cast<mode_t>(std::strtoul(text_of(v, name).c_str(), nullptr, 8)); }

std::vector<Attribute> hash_attributes() {
  std::vector<Attribute> out;
  for (const char* name : kHashes) out.push_back(attribute(name, Type::string(), "c"));
  return out;
}

BuiltinResource local_file(bool sensitive) {
  BuiltinResource r;
  std::vector<Attribute> attributes = hash_attributes();
  const char* const flags = sensitive ? "os" : "o";
  attributes.insert(attributes.end(), {attribute("content", Type::string(), flags), attribute("content_base64", Type::string(), flags), attribute("directory_permission", Type::string(), "oc"),
                                       attribute("file_permission", Type::string(), "oc"), attribute("filename", Type::string(), "r"), attribute("id", Type::string(), "c"),
                                       attribute("source", Type::string(), "o")});
  if (!sensitive) attributes.push_back(attribute("sensitive_content", Type::string(), "os"));
  r.schema.block = block(std::move(attributes));
  r.defaults = {{"file_permission", Value::string(sensitive ? "0700" : "0777")}, {"directory_permission", Value::string(sensitive ? "0700" : "0777")}};
  r.force_new = {"content", "content_base64", "directory_permission", "file_permission", "filename", "source"};
  if (!sensitive) r.force_new.insert("sensitive_content");
  r.validate = [](const Value& config, Diagnostics& d) {
    int given = 0;
    for (const char* name : {"content", "content_base64", "source", "sensitive_content"}) given += !config.get(name).is_null() ? 1 : 0;
    if (given != 1) d.push_back(error_diagnostic("Invalid Attribute Combination", "exactly one of content, sensitive_content, content_base64 and source must be set"));
    for (const char* name : {"file_permission", "directory_permission"}) {
      const Value& v = config.get(name);
      if (!v.is_string()) continue;
      char* end = nullptr;
      const unsigned long mode = std::strtoul(v.as_string().c_str(), &end, 8);
      if (*end != '\0' || v.as_string().size() < 3 || v.as_string().size() > 4 || mode > 0777) {
        d.push_back(error_diagnostic("Invalid File Permission String Value", "expected three or four octal digits such as 0644", {{std::string(name)}}));
      }
    }
  };
  r.write = [](const Value& planned, const Value&, Diagnostics& d) {
    auto bytes = content_of(planned);
    const std::string file = text_of(planned, "filename");
    auto failed = [&](const Status& s) {
      d.push_back(error_diagnostic("Create local file error", s.message()));
      return Value::null(planned.type());
    };
    if (!bytes) return failed(bytes.error());
    const size_t slash = file.rfind('/');
    if (slash != std::string::npos && slash > 0) {
      if (Status s = make_dirs(file.substr(0, slash), mode_of(planned, "directory_permission")); !s.ok()) return failed(s);
    }
    const mode_t mask = umask(0);
    umask(mask);
    if (Status s = write_file_atomic(file, *bytes, mode_of(planned, "file_permission") & ~mask); !s.ok()) return failed(s);
    return with_hashes(planned, *bytes);
  };
  // A file that is gone or has other content is to be written anew.
  r.read = [](const Value& current, Diagnostics&) {
    auto bytes = read_file(text_of(current, "filename"));
    if (!bytes || hex_encode(digest("SHA1", *bytes)) != text_of(current, "id")) return Value::null(current.type());
    return current;
  };
  r.remove = [](const Value& prior, Diagnostics& d) {
    const std::string file = text_of(prior, "filename");
    if (unlink(file.c_str()) != 0 && errno != ENOENT) d.push_back(error_diagnostic("Delete local file error", errno_error(file, errno).message()));
  };
  return r;
}

BuiltinData local_file_data(bool sensitive) {
  BuiltinData data;
  std::vector<Attribute> attributes = hash_attributes();
  const char* const flags = sensitive ? "cs" : "c";
  attributes.insert(attributes.end(), {attribute("content", Type::string(), flags), attribute("content_base64", Type::string(), flags), attribute("filename", Type::string(), "r"),
                                       attribute("id", Type::string(), "c")});
  data.schema.block = block(std::move(attributes));
  data.read = [](const Value& config, Diagnostics& d) {
    auto bytes = read_file(text_of(config, "filename"));
    if (!bytes) {
      d.push_back(error_diagnostic("Read local file data source error", bytes.error().message()));
      return config;
    }
    return with_hashes(config.with("content", Value::string(*bytes)).with("content_base64", Value::string(base64_encode(*bytes))), *bytes);
  };
  return data;
}

}  // namespace

BuiltinProvider local_provider() {
  BuiltinProvider p;
  p.version = "2.5.3";
  p.resources.emplace("local_file", local_file(false));
  p.resources.emplace("local_sensitive_file", local_file(true));
  p.data_sources.emplace("local_file", local_file_data(false));
  p.data_sources.emplace("local_sensitive_file", local_file_data(true));
  return p;
}

}  // namespace engenho::magma
