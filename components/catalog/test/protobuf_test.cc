#include "engenho/schema/protobuf.h"

#include "engenho/base/bytes.h"
#include "engenho/catalog/resources.h"
#include "engenho/catalog/transcode.h"
#include "engenho/schema/decode.h"
#include "engenho/testing/catch.h"

using namespace engenho;

namespace {

std::string encode(std::string_view name, std::string_view text) {
  const schema::Schema* s = catalog::find_schema_by_name(name);
  REQUIRE(s != nullptr);
  json::Value v = *json::parse(text);
  REQUIRE(schema::decode(*s, v).ok());
  return hex_encode(schema::to_protobuf(*s, v));
}

}  // namespace

TEST_CASE("known bytes") {
  // Put together by hand from field numbers and wire types.
  CHECK(encode("io.k8s.api.core.v1.LocalObjectReference", R"({"name":"a"})") == "0a0161");
  CHECK(encode("io.k8s.api.core.v1.LocalObjectReference", "{}") == "0a00");  // scalars without a pointer are always there
  // ContainerPort: name 1, hostPort 2, containerPort 3, protocol 4, hostIP 5.
  CHECK(encode("io.k8s.api.core.v1.ContainerPort", R"({"containerPort":80,"protocol":"TCP"})") == "0a0010001850220354435" "02a00");
  CHECK(encode("io.k8s.api.core.v1.ContainerPort", R"({"containerPort":-1})") == "0a00100018ffffffffffffffffff0122002a00");
  // ConfigMap: metadata 1, data 2 (entries key 1, value 2, sorted), binaryData 3, immutable 4 (pointer).
  CHECK(encode("io.k8s.api.core.v1.ConfigMapProjection", R"({"name":"n","optional":true})") == "0a030a016e2001");  // embedded reference
  // ConfigMapKeySelector: embedded LocalObjectReference 1, key 2.
  CHECK(encode("io.k8s.api.core.v1.ConfigMapKeySelector", R"({"name":"n","key":"k"})") == "0a030a016e12016b");
  // ServicePort: name 1, protocol 2, port 3, targetPort 4 {type 1, intVal 2, strVal 3}, nodePort 5.
  CHECK(encode("io.k8s.api.core.v1.ServicePort", R"({"port":1,"targetPort":"x"})") == "0a0012001801" "2207080110001a0178" "2800");
  // ResourceRequirements.limits: map entry with Quantity {string 1}.
  CHECK(encode("io.k8s.api.core.v1.ResourceRequirements", R"({"limits":{"cpu":"1"}})") == "0a0a0a036370751203" "0a0131");
  // Lease times: MicroTime {seconds 1, nanos 2}; LeaseSpec.renewTime is 4.
  CHECK(encode("io.k8s.api.coordination.v1.LeaseSpec", R"({"renewTime":"1970-01-01T00:00:01.000002Z"})") == "2205080110d00f");
}

TEST_CASE("the envelope opens again") {
  const std::string bytes = schema::make_envelope("apps/v1", "Deployment", "raw");
  CHECK(hex_encode(bytes) == "6b387300" "0a15" "0a07617070732f7631" "120a4465706c6f796d656e74" "1203726177" "1a00" "2200");
  Result<schema::Envelope> envelope = schema::open_envelope(bytes);
  REQUIRE(envelope);
  CHECK(envelope->api_version == "apps/v1");
  CHECK(envelope->kind == "Deployment");
  CHECK(envelope->raw == "raw");
  CHECK_FALSE(schema::open_envelope("{}"));
  CHECK_FALSE(schema::open_envelope(bytes.substr(0, bytes.size() - 5)));
  CHECK(hex_encode(schema::make_watch_event("ADDED", "x")) == "0a0541444445441203" "0a0178");
}

TEST_CASE("hostile bytes are errors") {
  const schema::Schema* s = catalog::find_schema_by_name("io.k8s.api.core.v1.Pod");
  auto refused = [&](std::string_view hex) { return !schema::from_protobuf(*s, *hex_decode(hex)); };
  CHECK(refused("0a"));                          // no length
  CHECK(refused("0aff"));                        // half a length
  CHECK(refused("0affffffff0f"));                // longer than there is
  CHECK(refused("0800"));                        // metadata as a varint
  CHECK(refused("00"));                          // field 0
  CHECK(refused("ffffffffffffffffffffff01"));    // no integer
  CHECK(refused("7b7b7b"));                      // groups without end
  CHECK(schema::from_protobuf(*s, ""));          // nothing at all is a pod of zeros
  // JSONSchemaProps holds itself in `not`, field 24: nested ten thousand deep.
  std::string nested;
  for (int i = 0; i < 10'000; ++i) {
    std::string length;
    for (size_t n = nested.size(); n > 0x7F; n >>= 7) length += static_cast<char>(n | 0x80);
    size_t n = nested.size();
    length.clear();
    while (n >= 0x80) {
      length += static_cast<char>(n | 0x80);
      n >>= 7;
    }
    length += static_cast<char>(n);
    nested = std::string("\xEA\x01", 2) + length + nested;
  }
  const schema::Schema* props = catalog::find_schema_by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
  uint16_t number = props->field("not")->proto;
  nested[0] = static_cast<char>((number << 3 | 2) & 0x7F | 0x80);
  (void)schema::from_protobuf(*props, nested);   // must come back, whatever it says
  // Every prefix and every flipped byte of a real message: an error or a document, never a crash.
  const std::string good = *catalog::encode_protobuf(*json::parse(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1"}}}]}})"));
  for (size_t i = 0; i < good.size(); ++i) {
    (void)catalog::decode_protobuf(std::string_view(good).substr(0, i));
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x55);
    (void)catalog::decode_protobuf(bad);
  }
}

TEST_CASE("transcoding between the three formats") {
  using catalog::Format;
  const std::string yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\nnope: 1\n";
  Result<std::string> proto = catalog::transcode(yaml, Format::kYaml, Format::kProtobuf);
  REQUIRE(proto);
  CHECK(schema::has_protobuf_magic(*proto));
  CHECK(*catalog::transcode(*proto, Format::kProtobuf, Format::kJson) ==
        R"({"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a"}})");
  CHECK(*catalog::transcode(*proto, Format::kProtobuf, Format::kYaml) == "apiVersion: v1\ndata:\n  k: v\nkind: ConfigMap\nmetadata:\n  name: a\n");
  CHECK(*catalog::transcode(R"({"apiVersion":"x/v1","kind":"Y","a":1})", Format::kJson, Format::kJson) == R"({"a":1,"apiVersion":"x/v1","kind":"Y"})");
  CHECK_FALSE(catalog::transcode(R"({"apiVersion":"x/v1","kind":"Y"})", Format::kJson, Format::kProtobuf));
  CHECK_FALSE(catalog::transcode("[", Format::kJson, Format::kJson));
}
