#include "engenho/pangea/receipt.h"

#include <atomic>

#include "engenho/base/bytes.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/pangea/cluster_state.h"
#include "engenho/pki/ed25519.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
namespace pangea_v1 = k8s::pangea_v1;

namespace {

pangea_v1::CycleReceiptSpec spec_of(const std::string& name = "web", const std::string& uid = "u-1") {
  pangea_v1::CycleReceiptSpec spec;
  spec.template_.name = name;
  spec.template_.namespace_ = "default";
  spec.template_.uid = uid;
  spec.outcome = "Applied";
  spec.completed_at = WallTime(std::chrono::seconds(1'800'000'000));
  spec.plan_hash = std::string(64, 'a');
  return spec;
}

// A chain as it would be stored, without a cluster.
struct Chain {
  explicit Chain(int length) {
    key = *pki::generate_ed25519();
    keys.emplace(receipt_key_id(key.public_key()), key.public_key());
    std::string previous(kGenesisDigest);
    for (int i = 1; i <= length; ++i) {
      pangea_v1::CycleReceipt receipt;
      receipt.spec = spec_of();
      receipt.spec.cycle = i;
      receipt.spec.previous_digest = previous;
      receipt.metadata.namespace_ = "default";
      receipt.metadata.name = receipt_name("web", i);
      REQUIRE(sign_receipt(receipt.spec, key).ok());
      previous = receipt.spec.digest;
      objects.push_back(k8s::to_json(receipt));
    }
  }
  std::string why(const std::string& newest = "") const {
    std::string out;
    for (const ReceiptProblem& p : verify_chain(objects, keys, newest).problems) out += p.name + ": " + p.why + "\n";
    return out;
  }
  pki::PrivateKey key;
  ReceiptKeys keys;
  std::vector<json::Value> objects;
};

}  // namespace

TEST_CASE("canonical JSON: the examples of RFC 8785") {
  auto canonical = [](std::string_view text) { return canonical_json(parse_json(text)); };
  CHECK(
      canonical(
          R"({"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001], "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]})") ==
      R"({"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"})");
  CHECK(
      canonical(
          R"({"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"})") ==
      "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\",\"\u20ac\":\"Euro "
      "Sign\",\"\U0001F600\":\"Emoji: Grinning Face\",\"\uFB33\":\"Hebrew Letter Dalet With Dagesh\"}");
  const std::pair<double, const char*> kNumbers[] = {{0.0, "0"},
                                                     {-0.0, "0"},
                                                     {5e-324, "5e-324"},
                                                     {-5e-324, "-5e-324"},
                                                     {1.7976931348623157e308, "1.7976931348623157e+308"},
                                                     {9007199254740992.0, "9007199254740992"},
                                                     {295147905179352830000.0, "295147905179352830000"},
                                                     {9.999999999999997e22, "9.999999999999997e+22"},
                                                     {1e23, "1e+23"},
                                                     {1.0000000000000001e23, "1.0000000000000001e+23"},
                                                     {999999999999999700000.0, "999999999999999700000"},
                                                     {1e21, "1e+21"},
                                                     {9.999999999999997e-7, "9.999999999999997e-7"},
                                                     {0.000001, "0.000001"},
                                                     {333333333.33333325, "333333333.33333325"},
                                                     {-0.0000033333333333333333, "-0.0000033333333333333333"},
                                                     {1424953923781206.2, "1424953923781206.2"}};
  for (const auto& [value, text] : kNumbers) CHECK(canonical_json(json::Value(value)) == text);
  CHECK(canonical_json(json::Value(int64_t{9007199254740993})) == "9007199254740992");
  CHECK(canonical("{}") == "{}");
  CHECK(canonical("[]") == "[]");
  CHECK(canonical(R"("<&>\u2028\u007f")") == "\"<&>\u2028\x7f\"");
}

TEST_CASE("a chain as it is; and each way in which one can be broken, with the receipt and the reason") {
  const Chain good(5);
  CHECK(good.why() == "");
  const ChainReport report = verify_chain(good.objects, good.keys, std::string(good.objects[4].str_at({"spec", "digest"})));
  CHECK(report.ok());
  CHECK(report.checked == 5);
  CHECK(report.from_genesis);
  CHECK(good.why("another").find("newer receipts are missing") != std::string::npos);

  Chain changed = good;
  changed.objects[2]["spec"]["planHash"] = std::string(64, 'b');
  CHECK(changed.why() == "web-3: it was changed after it was signed: its digest is not that of its content\nweb-4: its previous digest is not that of web-3\n");
  // Whoever changes it and computes the digest anew lacks the key.
  changed.objects[2]["spec"]["digest"] = receipt_digest(*changed.objects[2].get("spec"));
  CHECK(changed.why().starts_with("web-3: its signature is not that of the key"));
  CHECK(changed.why().find("web-4: its previous digest is not that of web-3") != std::string::npos);
  // And whoever signs with a key of their own is not known.
  Chain stranger = good;
  auto forged = k8s::from_json<pangea_v1::CycleReceipt>(stranger.objects[4]);
  REQUIRE(forged);
  forged->spec.outcome = "Failed";
  REQUIRE(sign_receipt(forged->spec, *pki::generate_ed25519()).ok());
  stranger.objects[4] = k8s::to_json(*forged);
  CHECK(stranger.why().find("which is not known") != std::string::npos);
  // One that was signed once and is put back over the newer one.
  Chain old = good;
  old.objects[3] = old.objects[2];
  old.objects[3]["metadata"]["name"] = "web-4";
  CHECK(old.why().find("web-4: it is of web-3, and was put under another name") != std::string::npos);
  CHECK(old.why().find("two receipts of cycle 3") != std::string::npos);

  Chain hole = good;
  hole.objects.erase(hole.objects.begin() + 2);
  CHECK(hole.why() == "web-4: between it and web-2 receipts are missing: its previous digest is of neither\n");
  Chain headless = good;  // what retention leaves
  headless.objects.erase(headless.objects.begin(), headless.objects.begin() + 2);
  CHECK(headless.why() == "");
  CHECK_FALSE(verify_chain(headless.objects, good.keys).from_genesis);
  CHECK(verify_chain(headless.objects, good.keys).anchor_digest == good.objects[1].str_at({"spec", "digest"}));
  Chain moved = good;
  moved.objects[0]["metadata"]["namespace"] = "other";
  CHECK(moved.why().find("web-1: it is of namespace default") != std::string::npos);
  Chain extended = good;
  extended.objects[1]["spec"]["note"] = "added";
  CHECK(extended.why().find("web-2: it was changed") != std::string::npos);
  CHECK(verify_chain({json::Value()}, good.keys).problems.size() == 1);
  CHECK(verify_chain({}, good.keys).ok());
}

TEST_CASE("a receipt of a plan and of an apply: counts of everything, messages bounded, what went wrong first") {
  SavedPlan plan;
  plan.executor = "magma";
  plan.serial = 4;
  plan.lineage = "l";
  plan.providers = {{"example.com/a/b", "1.2.3"}};
  plan.model.total = 12;
  Applied applied;
  applied.serial_before = 4;
  applied.serial_after = 9;
  applied.lineage = "l";
  for (int i = 0; i < 10; ++i) {
    Change c;
    c.address = "t.a[" + std::to_string(i) + "]";
    c.action = i == 3 ? "delete" : i == 4 ? "replace" : i == 5 ? "import" : "create";
    plan.model.changes.push_back(c);
    Outcome o;
    o.address = c.address;
    o.action = c.action;
    o.elapsed = std::chrono::milliseconds(1500);
    o.started = WallTime(std::chrono::milliseconds(1'800'000'000'400));
    if (i >= 8) {
      o.result = i == 8 ? Outcome::Result::kFailed : Outcome::Result::kSkipped;
      o.message = std::string(300, 'x') + "é";
    }
    applied.outcomes.push_back(o);
  }
  pangea_v1::CycleReceiptSpec spec = spec_of();
  describe_apply(spec, plan, applied);
  CHECK(spec.summary->matched == 2);
  CHECK(spec.summary->created == 5);
  CHECK(spec.summary->destroyed == 1);
  CHECK(spec.summary->updated == 1);
  CHECK(spec.summary->imported == 1);
  CHECK(spec.summary->failed == 2);
  CHECK(spec.state->serial_after == 9);
  CHECK(spec.outcomes[0].duration_milliseconds == 1500);
  for (const auto& o : spec.outcomes) {
    pangea_v1::ReceiptDecision d;
    d.address = o.address;
    d.action = o.action;
    d.decision = o.address == "t.a[7]" ? "refuse" : "autoApply";
    spec.decisions.push_back(d);
  }
  bound_receipt(spec, 4);
  CHECK(spec.truncated);
  REQUIRE(spec.outcomes.size() == 4);
  CHECK(spec.outcomes[2].address == "t.a[8]");
  CHECK(spec.outcomes[2].message.size() <= 256);
  CHECK(spec.outcomes[3].message.starts_with("skipped: "));
  CHECK(std::count_if(spec.decisions.begin(), spec.decisions.end(), [](const auto& d) { return d.decision == "refuse"; }) == 1);
  CHECK(spec.summary->created == 5);  // whatever was left out
  pangea_v1::CycleReceiptSpec planned = spec_of();
  describe_plan(planned, plan);
  CHECK(planned.outcomes.size() == 10);
  CHECK(planned.outcomes[0].outcome == "Drifted");
  CHECK(planned.summary->drifted_uncorrected == 10);
  bound_receipt(planned, 10);
  CHECK_FALSE(planned.truncated);
}

TEST_CASE("names of receipts stay names of objects, and different") {
  CHECK(receipt_name("web", 7) == "web-7");
  const std::string longest(253, 'a');
  CHECK(receipt_name(longest, 1'000'000).size() <= 253);
  CHECK(receipt_name(longest, 7) != receipt_name(std::string(252, 'a') + "b", 7));
}

TEST_CASE("the store: one key for the cluster, a chain that verifies after a restart, retention at its old end") {
  Cluster cluster;
  auto client = cluster.client();
  ReceiptOptions options;
  options.kept = 5;
  FakeClock clock(WallTime(std::chrono::seconds(1'800'000'000)));
  options.clock = &clock;
  ChainEnd end;
  for (int i = 1; i <= 8; ++i) {
    ReceiptStore store(i == 4 ? (cluster.restart(), client = cluster.client()) : client, options);  // each time as if anew
    auto made = store.append(spec_of(), end);
    INFO((made ? "" : made.error().message()));
    REQUIRE(made);
    CHECK(made->cycle == i);
    end = {made->name, made->digest};
  }
  ReceiptStore store(client, options);
  auto report = store.verify("default", "web", end.digest);
  REQUIRE(report);
  for (const auto& p : report->problems) UNSCOPED_INFO(p.name + ": " + p.why);
  CHECK(report->ok());
  CHECK(report->checked == 5);
  CHECK_FALSE(report->from_genesis);
  CHECK(store.keys()->size() == 1);
  auto secret = client->get<k8s::core_v1::Secret>(kSystemNamespace, "pangea-receipt-key");
  REQUIRE(secret);
  CHECK(secret->data.at("key.pem").find("PRIVATE KEY") != std::string::npos);
  auto map = client->get<k8s::core_v1::ConfigMap>(kSystemNamespace, "pangea-receipt-keys");
  REQUIRE(map);
  CHECK(map->data.begin()->second.find("BEGIN PUBLIC KEY") != std::string::npos);
  // The key is lost: a new one, and what the old one signed is still known.
  REQUIRE(client->remove<k8s::core_v1::Secret>(kSystemNamespace, "pangea-receipt-key").ok());
  auto next = ReceiptStore(client, options).append(spec_of(), end);
  REQUIRE(next);
  CHECK(store.keys()->size() == 2);
  CHECK(store.verify("default", "web", next->digest)->ok());
  // Somebody takes one out of the middle.
  REQUIRE(client->remove<pangea_v1::CycleReceipt>("default", "web-7").ok());
  CHECK_FALSE(store.verify("default", "web")->ok());
}

TEST_CASE("the store: a cycle that was cut off after its receipt, a template made anew, two at once") {
  Cluster cluster;
  auto client = cluster.client();
  ReceiptStore store(client);
  auto first = store.append(spec_of(), {});
  REQUIRE(first);
  // The template never heard of it: the next one comes after it all the same.
  CHECK(store.append(spec_of(), {})->digest == first->digest);  // the very same again: an answer was lost
  pangea_v1::CycleReceiptSpec other = spec_of();
  other.completed_at = WallTime(std::chrono::seconds(1'800'000'001));
  auto second = store.append(other, {});
  REQUIRE(second);
  CHECK(second->cycle == 2);
  CHECK(store.verify("default", "web", second->digest)->ok());
  // Deleted and made again under the same name, before the old receipts were collected.
  auto fresh = store.append(spec_of("web", "u-2"), {});
  REQUIRE(fresh);
  CHECK(fresh->cycle == 1);
  // Receipts were deleted by hand: the chain goes on from what the template remembers, and not from the beginning.
  REQUIRE(client->remove<pangea_v1::CycleReceipt>("default", "web-1").ok());
  pangea_v1::CycleReceiptSpec later = spec_of("web", "u-2");
  later.cycle = 2;
  REQUIRE(client->remove<pangea_v1::CycleReceipt>("default", "web-2").ok());
  auto after = store.append(later, {fresh->name, fresh->digest});
  REQUIRE(after);
  CHECK(store.verify("default", "web")->anchor_digest == fresh->digest);
  CHECK_FALSE(store.append(pangea_v1::CycleReceiptSpec(), {}));

  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      ReceiptStore mine(client);
      ChainEnd end;
      for (int k = 0; k < 5; ++k) {
        pangea_v1::CycleReceiptSpec spec = spec_of("busy", "u-3");
        spec.plan_hash = std::to_string(i) + "." + std::to_string(k);  // no two are the same
        auto made = mine.append(spec, end);
        if (!made) continue;
        ++good;
        end = {made->name, made->digest};
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(good == 20);
  auto report = store.verify("default", "busy");
  for (const auto& p : report->problems) UNSCOPED_INFO(p.name + ": " + p.why);
  CHECK(report->ok());
  CHECK(report->checked == 20);
}

TEST_CASE("the store: what is too old goes, from the old end, and the newest stays") {
  Cluster cluster;
  auto client = cluster.client();
  FakeClock clock(WallTime(std::chrono::seconds(1'800'000'000)));
  ReceiptOptions options;
  options.clock = &clock;
  options.max_age = std::chrono::hours(24);
  ReceiptStore store(client, options);
  for (const char* name : {"web", "db"}) {
    ChainEnd end;
    for (int i = 0; i < 6; ++i) {
      pangea_v1::CycleReceiptSpec spec = spec_of(name, std::string("u-") + name);
      spec.completed_at = clock.wall() - std::chrono::hours(10 * (6 - i));
      auto made = store.append(spec, end);
      REQUIRE(made);
      end = {made->name, made->digest};
    }
  }
  CHECK(*store.collect() == 8);
  CHECK(*store.collect() == 0);
  CHECK(store.verify("default", "web")->checked == 2);
  CHECK(store.verify("default", "web")->ok());
  clock.advance(std::chrono::hours(1000));
  CHECK(*store.collect() == 2);
  CHECK(store.list("default", "db")->size() == 1);
}
