#include "engenho/schema/quantity.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using schema::Quantity;

TEST_CASE("quantities print in canonical form") {
  struct Case {
    const char *in, *canonical;
  };
  const Case cases[] = {
      {"0", "0"},           {"0Mi", "0"},         {"-0", "0"},          {"000", "0"},          {"1024Mi", "1Gi"},     {"2048Mi", "2Gi"},
      {"1000Mi", "1000Mi"}, {"1500Mi", "1500Mi"}, {"0.5", "500m"},      {"0.5Gi", "512Mi"},    {"1.5Gi", "1536Mi"},   {"1000m", "1"},
      {"1500m", "1500m"},   {"1e3", "1e3"},       {"1E3", "1E3"},       {"1000e0", "1e3"},     {"100000", "100k"},    {"10M", "10M"},
      {"1000k", "1M"},      {"0.0000000001", "1n"}, {"0.1Ki", "102400m"}, {"1Ki", "1Ki"},      {"512", "512"},        {"-1.5", "-1500m"},
      {"100m", "100m"},     {".5", "500m"},       {"1.125", "1.125"},   {"12345678901234567890", "12345678901234567890"},
      {"1Ei", "1Ei"},       {"16Ei", "9223372036854775807"},            {"+5", "+5"},          {"0.001Ki", "1024m"},
  };
  for (const Case& c : cases) {
    INFO(c.in);
    Result<std::string> got = schema::canonical_quantity(c.in);
    REQUIRE(got);
    CHECK(*got == c.canonical);
  }
}

TEST_CASE("what is no quantity says why") {
  for (const char* text : {"", "abc", "1.2.3", "1 Gi", "1Gi ", "true"}) {
    INFO(text);
    Result<Quantity> q = Quantity::parse(text);
    REQUIRE_FALSE(q);
    CHECK(q.error().message() == "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
  }
  for (const char* text : {"1Q", "1mm", "1ki", "1K", "1e", "1i", "--1"}) {
    INFO(text);
    CHECK_FALSE(Quantity::parse(text));
  }
  CHECK(Quantity::parse("1KK").error().message() == "unable to parse quantity's suffix");
}

TEST_CASE("quantities round away from zero") {
  CHECK(Quantity::parse("1500m")->value() == 2);
  CHECK(Quantity::parse("-1500m")->value() == -2);
  CHECK(Quantity::parse("1n")->milli_value() == 1);
  CHECK(Quantity::parse("0.00000000000001")->nano() == 1);
  CHECK(Quantity::parse("1e400")->value() == INT64_MAX);
  CHECK(Quantity::parse("1e-400")->sign() == 1);
  CHECK(Quantity::parse("-1e400")->value() == INT64_MIN);
}

TEST_CASE("quantities compare by value and keep the left format") {
  CHECK(*Quantity::parse("1Gi") == *Quantity::parse("1024Mi"));
  CHECK(*Quantity::parse("1G") < *Quantity::parse("1Gi"));
  CHECK((*Quantity::parse("1Gi") + *Quantity::parse("1024Mi")).to_string() == "2Gi");
  CHECK((*Quantity::parse("0") + *Quantity::parse("1Gi")).to_string() == "1Gi");
  CHECK((*Quantity::parse("1") - *Quantity::parse("250m")).to_string() == "750m");
  CHECK((*Quantity::parse("1Ki") - *Quantity::parse("1Ki")).is_zero());
  CHECK(Quantity::from_milli(2500).to_string() == "2500m");
  CHECK(Quantity::from_int(1 << 20, Quantity::Format::kBinarySI).to_string() == "1Mi");
}
