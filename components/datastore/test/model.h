// The store in thirty lines, slow and obviously right: every revision's whole content.
#pragma once

#include <map>
#include <random>
#include <vector>

#include "support.h"

namespace engenho::datastore {

struct ModelKey {
  std::string value;
  Revision create = 0, mod = 0;
  int64_t version = 0;
  LeaseId lease = 0;
};
using ModelState = std::map<std::string, ModelKey>;
struct ModelEvent {
  Revision revision;
  bool deleted;
  std::string key;
};

class Model {
 public:
  Model() { states_[1] = {}; }
  Revision revision() const { return states_.rbegin()->first; }
  const ModelState& now() const { return states_.rbegin()->second; }
  const ModelState& at(Revision revision) const { return states_.at(revision); }

  // All puts and deletes of one request; takes a revision when there is any.
  void apply(const std::vector<std::tuple<std::string, std::string, LeaseId>>& puts,
             const std::vector<std::string>& deletes) {
    if (puts.empty() && deletes.empty()) return;
    const Revision revision = this->revision() + 1;
    ModelState state = now();
    for (const auto& [key, value, lease] : puts) {
      ModelKey& row = state[key];
      if (row.version == 0) row.create = revision;
      row = {value, row.create, revision, row.version + 1, lease};
      events.push_back({revision, false, key});
    }
    for (const std::string& key : deletes) {
      state.erase(key);
      events.push_back({revision, true, key});
    }
    states_[revision] = std::move(state);
  }

  std::vector<ModelEvent> events;

 private:
  std::map<Revision, ModelState> states_;
};

inline void check_same(const KeyValue& kv, const std::string& key, const ModelKey& row) {
  REQUIRE(kv.key == key);
  REQUIRE(*kv.value == row.value);
  REQUIRE(kv.create_revision == row.create);
  REQUIRE(kv.mod_revision == row.mod);
  REQUIRE(kv.version == row.version);
  REQUIRE(kv.lease == row.lease);
}

inline void check_list(Store& store, const ModelState& state, const KeyRange& range, Revision revision,
                       int64_t limit) {
  ListRequest request;
  request.range = range;
  request.revision = revision;
  request.limit = limit;
  request.want_count = true;
  const ListResult result = must(store.list(request));
  std::vector<std::pair<std::string, ModelKey>> want;
  for (const auto& [key, row] : state)
    if (range.contains(key)) want.emplace_back(key, row);
  REQUIRE(result.count == static_cast<int64_t>(want.size()));
  const size_t shown = limit > 0 ? std::min<size_t>(limit, want.size()) : want.size();
  REQUIRE(result.kvs.size() == shown);
  REQUIRE(result.more == (shown < want.size()));
  for (size_t i = 0; i < shown; ++i) check_same(result.kvs[i], want[i].first, want[i].second);
  request.count_only = true;
  REQUIRE(must(store.list(request)).count == static_cast<int64_t>(want.size()));
}

// The events of a watch from `from` on, against the model's, with values and previous values.
inline void check_events(const std::vector<EventPtr>& events, const Model& model, Revision from,
                         const KeyRange& range, bool prev_kv) {
  size_t n = 0;
  for (const ModelEvent& want : model.events) {
    if (want.revision < from || !range.contains(want.key)) continue;
    REQUIRE(n < events.size());
    const Event& event = *events[n++];
    REQUIRE(event.kv.key == want.key);
    REQUIRE(event.kv.mod_revision == want.revision);
    REQUIRE((event.type == Event::Type::kDelete) == want.deleted);
    if (!want.deleted) check_same(event.kv, want.key, model.at(want.revision).at(want.key));
    if (prev_kv) {
      const ModelState& before = model.at(want.revision - 1);
      const auto it = before.find(want.key);
      REQUIRE(event.previous.has_value() == (it != before.end()));
      if (event.previous) check_same(*event.previous, want.key, it->second);
    }
  }
  REQUIRE(n == events.size());
}

}  // namespace engenho::datastore
