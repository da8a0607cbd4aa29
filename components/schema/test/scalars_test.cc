#include "scalars.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::schema;

TEST_CASE("times become UTC with whole seconds") {
  CHECK(*canonical_time("2026-01-02T03:04:05Z", false) == "2026-01-02T03:04:05Z");
  CHECK(*canonical_time("2026-01-02T03:04:05.999Z", false) == "2026-01-02T03:04:05Z");
  CHECK(*canonical_time("2026-01-02T03:04:05+02:30", false) == "2026-01-02T00:34:05Z");
  CHECK(*canonical_time("2024-02-29T23:59:59-01:00", false) == "2024-03-01T00:59:59Z");
  CHECK(*canonical_time("0001-01-01T00:00:00Z", false) == "0001-01-01T00:00:00Z");
  CHECK(*canonical_time("2026-01-02T03:04:05.120000Z", true) == "2026-01-02T03:04:05.120000Z");
}

TEST_CASE("times that do not parse name the element") {
  auto message = [](const char* text, bool micro) { return canonical_time(text, micro).error().message(); };
  CHECK(message("yesterday", false) == R"(parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006")");
  CHECK(message("2024-01-01T00:00:00Z", true) ==
        R"(parsing time "2024-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000")");
  CHECK(message("2024-01-01T00:00:00", false) == R"(parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00")");
  CHECK(message("2024-13-01T00:00:00Z", false) == R"(parsing time "2024-13-01T00:00:00Z": month out of range)");
  CHECK(message("2023-02-29T00:00:00Z", false) == R"(parsing time "2023-02-29T00:00:00Z": day out of range)");
  CHECK(message("2024-01-01T00:00:00Zx", false) == R"(parsing time "2024-01-01T00:00:00Zx": extra text: "x")");
}

TEST_CASE("base64 is strict and counts bytes as Go does") {
  CHECK(*decode_base64("") == "");
  CHECK(*decode_base64("Yg==") == "b");
  CHECK(*decode_base64("YW\nJj\n") == "abc");
  struct Case {
    const char* text;
    int at;
  };
  for (const Case& c : {Case{"!!", 0}, {"abc", 0}, {"YWJ", 0}, {"YQ", 0}, {"YQ=", 3}, {"YQ==x", 4}, {"Y===", 1}, {"YWJj-", 4}}) {
    INFO(c.text);
    REQUIRE_FALSE(decode_base64(c.text));
    CHECK(decode_base64(c.text).error().message() == "illegal base64 data at input byte " + std::to_string(c.at));
  }
}

TEST_CASE("durations") {
  CHECK(*canonical_duration("90m") == "1h30m0s");
  CHECK(*canonical_duration("1.5s") == "1.5s");
  CHECK(*canonical_duration("-2ms") == "-2ms");
  CHECK(*canonical_duration("0") == "0s");
  CHECK(*parse_duration("1h1m1s1ms1us1ns") == 3661001001001);
  for (const char* text : {"", "1", "x", "1x", ".s", "999999999999h"}) CHECK_FALSE(parse_duration(text));
}
