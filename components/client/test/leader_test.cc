#include "engenho/client/leader.h"

#include "engenho/catalog/coordination_v1.h"
#include "engenho/testing/catch.h"
#include "engenho/testing/cluster.h"
#include "engenho/testing/eventually.h"

using namespace engenho;
using testing::Cluster;
using testing::eventually;

namespace {

client::LeaderOptions options(const std::string& identity) {
  client::LeaderOptions out;
  out.name = "test";
  out.identity = identity;
  out.lease = std::chrono::seconds(1);
  out.renew_deadline = std::chrono::milliseconds(700);
  out.retry = std::chrono::milliseconds(50);
  return out;
}

}  // namespace

TEST_CASE("one of three leads at a time; when it goes, another takes over") {
  Cluster cluster;
  std::atomic<int> leading{0}, most{0}, turns{0};
  struct Candidate {
    std::unique_ptr<client::Client> client;
    std::unique_ptr<TaskGroup> group = std::make_unique<TaskGroup>("candidate");
    std::atomic<bool> leads{false};
  };
  std::array<Candidate, 3> all;
  for (size_t i = 0; i < all.size(); ++i) {
    Candidate& c = all[i];
    c.client = cluster.client();
    c.group->spawn("run", [&, i](StopToken stop) {
      client::lead_while_elected(*all[i].client, options("c" + std::to_string(i)), stop, [&, i](StopToken end) {
        ++turns;
        all[i].leads = true;
        most = std::max(most.load(), ++leading);
        end.wait();
        --leading;
        all[i].leads = false;
      });
    });
  }
  for (int round = 1; round <= 3; ++round) {
    REQUIRE(eventually([&] { return leading == 1; }));
    for (Candidate& c : all) {
      if (c.leads) c.group->stop();
    }
    CHECK(turns == round);
  }
  CHECK(most == 1);
  CHECK(leading == 0);
}

TEST_CASE("a leader whose Lease somebody takes away stops") {
  Cluster cluster;
  auto client = cluster.client(), thief = cluster.client();
  std::atomic<int> started{0}, ended{0};
  TaskGroup group("candidate");
  group.spawn("run", [&](StopToken stop) {
    client::lead_while_elected(*client, options("c"), stop, [&](StopToken end) {
      ++started;
      end.wait();
      ++ended;
    });
  });
  REQUIRE(eventually([&] { return started == 1; }));
  REQUIRE(eventually([&] {
    return thief->patch<k8s::coordination_v1::Lease>("kube-system", "test", client::PatchType::kMerge, R"({"spec":{"holderIdentity":"thief"}})").has_value();
  }));
  REQUIRE(eventually([&] { return ended == 1; }));
  // The thief never renews, so the Lease comes back once it has run out.
  REQUIRE(eventually([&] { return started == 2; }));
  group.stop();
  CHECK(ended == 2);
  auto lease = thief->get<k8s::coordination_v1::Lease>("kube-system", "test");
  REQUIRE(lease);
  CHECK(lease->spec.holder_identity.value_or("") == "");
  CHECK(lease->spec.lease_transitions.value_or(0) == 1);
}
