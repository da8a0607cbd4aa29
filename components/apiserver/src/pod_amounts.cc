#include "pod_amounts.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::Quantity;

void raise(Amounts& to, const Amounts& least) {
  for (const auto& [name, q] : least) {
    auto [it, fresh] = to.emplace(name, q);
    if (!fresh && it->second < q) it->second = q;
  }
}

}  // namespace

Amounts amounts(const Value* map) {
  Amounts out;
  if (map != nullptr) {
    for (const auto& [name, v] : map->members()) out.emplace(name, Quantity::parse_or_zero(v.str()));
  }
  return out;
}

void add(Amounts& to, const Amounts& more) {
  for (const auto& [name, q] : more) to[name] += q;
}

Amounts pod_amounts(const Value& pod, const char* member) {
  Amounts total, sidecars, init;
  if (const Value* list = pod.at({"spec", "containers"})) {
    for (const Value& c : list->items()) add(total, amounts(c.at({"resources", member})));
  }
  if (const Value* list = pod.at({"spec", "initContainers"})) {
    for (const Value& c : list->items()) {
      Amounts mine = amounts(c.at({"resources", member}));
      if (c.str_at({"restartPolicy"}) == "Always") {
        add(total, mine);
        add(sidecars, mine);
        mine = sidecars;
      } else {
        add(mine, sidecars);
      }
      raise(init, mine);
    }
  }
  raise(total, init);
  for (const auto& [name, q] : amounts(pod.at({"spec", "resources", member}))) total[name] = q;
  add(total, amounts(pod.at({"spec", "overhead"})));
  return total;
}

}  // namespace engenho::apiserver
