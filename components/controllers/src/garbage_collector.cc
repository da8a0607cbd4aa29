// Deletes objects whose owners are all gone, and carries out orphaning and foreground deletion. It sees the metadata of every kind; nothing
// else of the objects is kept.
#include <set>

#include "engenho/base/log.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

struct Owner {
  std::string uid, api_version, kind, name;
  bool block = false;
};

struct Node {
  const catalog::Resource* resource = nullptr;
  std::string ns, name, uid;
  std::vector<Owner> owners;
  bool deleting = false, orphan = false, foreground = false;
};

class GarbageCollector final : public Controller {
 public:
  explicit GarbageCollector(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "garbagecollector"; }
  void prepare() override {}

  void run(TaskGroup& group) override {
    std::vector<const catalog::Resource*> watched;
    for (const catalog::Group& g : catalog::groups()) {
      for (const catalog::GroupVersion& gv : g.versions) {
        if (gv.version.find("alpha") != std::string_view::npos || gv.version.find("beta") != std::string_view::npos) continue;  // not served
        for (const catalog::Resource& r : gv.resources) {
          const catalog::Resource& stored = catalog::storage_resource(r);
          if (&stored != &r || !r.has_verb("watch") || !r.has_verb("delete")) continue;
          if (r.plural == "events") continue;  // they expire by themselves
          watched.push_back(&r);
        }
      }
    }
    pending_lists_ = watched.size();
    for (const catalog::Resource* r : watched) {
      group.spawn("gc-" + std::string(r->plural), [this, r](StopToken stop) {
        bool first = true;
        client::Reflector reflector(e_.client, *r, {},
                                    {[this, r, &first](std::vector<json::Value> items) {
                                       replace(*r, items);
                                       if (first) listed();
                                       first = false;
                                     },
                                     [this, r](std::string_view type, const json::Value& object) { change(*r, type, object); }});
        reflector.run(stop);
      });
    }
    client::run_workers(group, "garbagecollector", queue_, 4, [this](const std::string& uid) { return reconcile(uid); });
  }

 private:
  // Before every kind has been listed once an owner may only seem to be missing.
  void listed() {
    std::lock_guard lock(mutex_);
    if (--pending_lists_ == 0) {
      for (const auto& [uid, node] : nodes_) {
        if (!node.owners.empty() || node.deleting) queue_.add(uid);
      }
    }
  }

  static Node node_of(const catalog::Resource& r, const json::Value& object) {
    Node n;
    n.resource = &r;
    n.ns = object.str_at({"metadata", "namespace"});
    n.name = object.str_at({"metadata", "name"});
    n.uid = object.str_at({"metadata", "uid"});
    n.deleting = object.at({"metadata", "deletionTimestamp"}) != nullptr;
    if (const json::Value* finalizers = object.at({"metadata", "finalizers"})) {
      for (const json::Value& f : finalizers->items()) {
        n.orphan = n.orphan || f.str() == "orphan";
        n.foreground = n.foreground || f.str() == "foregroundDeletion";
      }
    }
    if (const json::Value* owners = object.at({"metadata", "ownerReferences"})) {
      for (const json::Value& o : owners->items()) {
        const json::Value* block = o.get("blockOwnerDeletion");
        n.owners.push_back({std::string(o.str_at({"uid"})), std::string(o.str_at({"apiVersion"})), std::string(o.str_at({"kind"})),
                            std::string(o.str_at({"name"})), block != nullptr && block->bool_or(false)});
      }
    }
    return n;
  }

  void put(Node node) {
    std::lock_guard lock(mutex_);
    const std::string uid = node.uid;
    if (auto it = nodes_.find(uid); it != nodes_.end()) {
      for (const Owner& o : it->second.owners) dependents_[o.uid].erase(uid);
    }
    for (const Owner& o : node.owners) dependents_[o.uid].insert(uid);
    const bool interesting = !node.owners.empty() || (node.deleting && (node.orphan || node.foreground));
    nodes_[uid] = std::move(node);
    if (interesting && pending_lists_ == 0) queue_.add(uid);
  }
  void drop(const std::string& uid) {
    std::lock_guard lock(mutex_);
    auto it = nodes_.find(uid);
    if (it == nodes_.end()) return;
    for (const Owner& o : it->second.owners) {
      auto& set = dependents_[o.uid];
      set.erase(uid);
      if (set.empty()) dependents_.erase(o.uid);
      if (pending_lists_ == 0) queue_.add(o.uid);  // an owner in foreground deletion may wait for it
    }
    nodes_.erase(it);
    if (auto d = dependents_.find(uid); d != dependents_.end() && pending_lists_ == 0) {
      for (const std::string& dependent : d->second) queue_.add(dependent);
    }
  }
  void replace(const catalog::Resource& r, const std::vector<json::Value>& items) {
    std::set<std::string> present;
    for (const json::Value& item : items) {
      Node n = node_of(r, item);
      present.insert(n.uid);
      put(std::move(n));
    }
    std::vector<std::string> gone;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [uid, node] : nodes_) {
        if (node.resource == &r && !present.contains(uid)) gone.push_back(uid);
      }
    }
    for (const std::string& uid : gone) drop(uid);
  }
  void change(const catalog::Resource& r, std::string_view type, const json::Value& object) {
    if (type == "DELETED") drop(std::string(object.str_at({"metadata", "uid"})));
    else put(node_of(r, object));
  }

  enum class OwnerState { kPresent, kWaiting, kAbsent };
  // Asks the server before anything is deleted: the graph may lag behind.
  Result<OwnerState> state_of(const Node& node, const Owner& owner) {
    {
      std::lock_guard lock(mutex_);
      auto it = nodes_.find(owner.uid);
      if (it != nodes_.end()) return it->second.deleting && it->second.foreground ? OwnerState::kWaiting : OwnerState::kPresent;
    }
    const catalog::Resource* r = catalog::find_kind(owner.api_version, owner.kind);
    if (r == nullptr) return OwnerState::kPresent;  // a kind nobody serves here: not ours to judge
    if (r->namespaced && node.ns.empty()) return OwnerState::kAbsent;
    auto live = e_.client.get_raw(*r, r->namespaced ? node.ns : "", owner.name);
    if (!live) {
      if (live.error().not_found()) return OwnerState::kAbsent;
      return err(live.error());
    }
    return live->str_at({"metadata", "uid"}) == owner.uid ? OwnerState::kPresent : OwnerState::kAbsent;
  }

  std::vector<Node> dependents_of(const std::string& uid) {
    std::lock_guard lock(mutex_);
    std::vector<Node> out;
    if (auto it = dependents_.find(uid); it != dependents_.end()) {
      for (const std::string& d : it->second) {
        if (auto n = nodes_.find(d); n != nodes_.end()) out.push_back(n->second);
      }
    }
    return out;
  }

  Status remove_finalizer(const Node& node, std::string_view finalizer) {
    auto live = e_.client.get_raw(*node.resource, node.ns, node.name);
    if (!live) return live.error().not_found() ? Status() : live.error();
    json::Value* list = live->at({"metadata", "finalizers"});
    if (live->str_at({"metadata", "uid"}) != node.uid || list == nullptr || !list->is_array()) return {};
    json::Array kept;
    for (const json::Value& f : list->as_array()) {
      if (f.str() != finalizer) kept.push_back(f);
    }
    if (kept.size() == list->as_array().size()) return {};
    json::Value patch = json::Object();
    patch["metadata"]["resourceVersion"] = live->str_at({"metadata", "resourceVersion"});
    patch["metadata"]["finalizers"] = std::move(kept);
    auto patched = e_.client.patch_raw(*node.resource, node.ns, node.name, client::PatchType::kMerge, json::dump(patch));
    if (!patched && !patched.error().not_found()) return patched.error();
    return {};
  }

  Status drop_owners(const Node& node, const std::set<std::string>& uids) {
    auto live = e_.client.get_raw(*node.resource, node.ns, node.name);
    if (!live) return live.error().not_found() ? Status() : live.error();
    const json::Value* owners = live->at({"metadata", "ownerReferences"});
    if (owners == nullptr) return {};
    json::Array kept;
    for (const json::Value& o : owners->items()) {
      if (!uids.contains(std::string(o.str_at({"uid"})))) kept.push_back(o);
    }
    json::Value patch = json::Object();
    patch["metadata"]["resourceVersion"] = live->str_at({"metadata", "resourceVersion"});
    patch["metadata"]["ownerReferences"] = kept.empty() ? json::Value() : json::Value(std::move(kept));
    auto patched = e_.client.patch_raw(*node.resource, node.ns, node.name, client::PatchType::kMerge, json::dump(patch));
    if (!patched && !patched.error().not_found()) return patched.error();
    return {};
  }

  Status reconcile(const std::string& uid) {
    Node node;
    {
      std::lock_guard lock(mutex_);
      auto it = nodes_.find(uid);
      if (it == nodes_.end()) return {};
      node = it->second;
    }
    if (node.deleting && node.orphan) {
      for (const Node& d : dependents_of(uid)) ENGENHO_RETURN_IF_ERROR(drop_owners(d, {uid}));
      return remove_finalizer(node, "orphan");
    }
    if (node.deleting && node.foreground) {
      bool blocked = false;
      for (const Node& d : dependents_of(uid)) {
        for (const Owner& o : d.owners) blocked = blocked || (o.uid == uid && o.block);
        if (!d.deleting) queue_.add(d.uid);
      }
      return blocked ? Status() : remove_finalizer(node, "foregroundDeletion");
    }
    if (node.deleting || node.owners.empty()) return {};
    std::set<std::string> absent;
    bool present = false, waiting = false;
    for (const Owner& o : node.owners) {
      auto state = state_of(node, o);
      if (!state) return state.error();
      if (*state == OwnerState::kPresent) present = true;
      else if (*state == OwnerState::kWaiting) waiting = true;
      else absent.insert(o.uid);
    }
    if (present) {
      if (waiting) {
        std::lock_guard lock(mutex_);
        for (const Owner& o : node.owners) {
          auto it = nodes_.find(o.uid);
          if (it != nodes_.end() && it->second.deleting && it->second.foreground) absent.insert(o.uid);
        }
      }
      return absent.empty() ? Status() : drop_owners(node, absent);
    }
    client::DeleteOptions options;
    options.uid = uid;
    // A dependent of something that waits takes its own dependents along first.
    options.propagation_policy = waiting && !dependents_of(uid).empty() ? "Foreground" : node.orphan ? "Orphan" : node.foreground ? "Foreground" : "Background";
    Status s = e_.client.remove_raw(*node.resource, node.ns, node.name, options);
    if (!s.ok() && !s.not_found() && !s.conflict()) return s;
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, Node> nodes_;                         // by uid
  std::map<std::string, std::set<std::string>> dependents_;   // owner uid -> uids
  size_t pending_lists_ = 0;
};

}  // namespace

std::unique_ptr<Controller> garbage_collector(Environment& e) { return std::make_unique<GarbageCollector>(e); }

}  // namespace engenho::controllers
