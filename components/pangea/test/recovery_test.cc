#include "engenho/base/bytes.h"
#include "redactor.h"
#include "state_recovery.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

std::string document(uint64_t serial, const std::string& lineage, const std::string& output = "") {
  return R"({"version": 4, "serial": )" + std::to_string(serial) + R"(, "lineage": ")" + lineage + R"(", "terraform_version": "1.9.0", "outputs": {)" + output + R"(}, "resources": []})";
}

size_t files_in(const TempDir& dir) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) count += entry.is_regular_file() ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a state that waits is stored when it follows, and kept aside when it does not") {
  TempDir dir;
  const std::string file = dir.path(kUnsavedState);
  auto state = magma::make_memory_state(document(3, "l"));
  CHECK(recover_state(dir.path(), *state)->empty());
  write_text(file, document(5, "l"));
  CHECK(recover_state(dir.path(), *state)->find("serial 5) was recovered") != std::string::npos);
  CHECK(*state->read() == document(5, "l"));
  CHECK(files_in(dir) == 0);
  write_text(file, document(5, "l"));   // it was stored after all
  CHECK(recover_state(dir.path(), *state)->empty());
  CHECK(files_in(dir) == 0);
  // Another run went on meanwhile; and a state of another history.
  for (const std::string& other : {document(5, "l", R"("x": {"value": 1, "type": "number"})"), document(9, "another")}) {
    write_text(file, other);
    CHECK(recover_state(dir.path(), *state)->find("does not follow") != std::string::npos);
    CHECK_FALSE(path_exists(file));
    CHECK(*state->read() == document(5, "l"));
  }
  CHECK(files_in(dir) == 2);   // nothing is thrown away
  // Somebody holds the lock: later.
  write_text(file, document(6, "l"));
  auto token = state->lock({});
  CHECK(recover_state(dir.path(), *state).error().conflict());
  CHECK(path_exists(file));
  REQUIRE(state->unlock(*token).ok());
  CHECK(recover_state(dir.path(), *state));
  // Cut off before there was any state: it gets a name.
  auto none = magma::make_memory_state();
  write_text(file, document(0, ""));
  CHECK(recover_state(dir.path(), *none)->find("recovered") != std::string::npos);
  CHECK(state_id(*none->read())->serial == 1);
  CHECK_FALSE(state_id(*none->read())->lineage.empty());
  write_text(file, "{ damaged");
  CHECK_FALSE(recover_state(dir.path(), *none));
  CHECK(path_exists(file));
}

TEST_CASE("secrets are taken out wherever they stand, and words are left alone") {
  Redactor redactor;
  redactor.add("hunter-22");
  redactor.add("hunter-22-and-more");
  redactor.add("true");
  redactor.add("abc");
  redactor.add("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nshort\n-----END KEY-----\n");
  redactor.add("with \"quotes\"");
  CHECK(redactor.text("a hunter-22 b hunter-22-and-more c") == "a (sensitive value) b (sensitive value) c");
  CHECK(redactor.text("true abc short -----BEGIN KEY-----") == "true abc short -----BEGIN KEY-----");
  CHECK(redactor.text("line MIIEvQIBADANBgkqhkiG9w0 alone") == "line (sensitive value) alone");
  CHECK(redactor.text(R"x({"x": "with \"quotes\""})x") == R"x({"x": "(sensitive value)"})x");
  redactor.add_plan(parse_json(R"({"resource_changes": [{"change": {"before": {"a": ["p-before", "q-before"]}, "before_sensitive": {"a": [false, true]}, "after": {"b": {"c": 123456}}, "after_sensitive": {"b": true}}}],
    "output_changes": {"o": {"after": "out-put", "after_sensitive": true}}, "variables": {"v": {"value": "var-value"}, "w": {"value": "open-value"}},
    "configuration": {"root_module": {"variables": {"v": {"sensitive": true}, "w": {}}}}})"));
  CHECK(redactor.text("p-before q-before 123456 out-put var-value open-value") ==
        "p-before (sensitive value) (sensitive value) (sensitive value) (sensitive value) open-value");
  redactor.add_state(R"({"outputs": {"o": {"value": "state-out", "sensitive": true}, "p": {"value": "state-open"}}, "resources": [{"instances": [{"attributes": {"a": "attr-a", "l": [{"k": "attr-k"}, {"k": "attr-m"}], "m": {"x": "attr-x"}},
    "sensitive_attributes": [[{"type": "get_attr", "value": "a"}], [{"type": "get_attr", "value": "l"}, {"type": "index", "value": {"value": 1, "type": "number"}}, {"type": "get_attr", "value": "k"}],
    [{"type": "get_attr", "value": "m"}, {"type": "index", "value": {"value": "x", "type": "string"}}], [{"type": "get_attr", "value": "none"}]]}]}]})");
  CHECK(redactor.text("state-out state-open attr-a attr-k attr-m attr-x") == "(sensitive value) state-open (sensitive value) attr-k (sensitive value) (sensitive value)");
  redactor.add_state("not JSON, but sensitive");
}
