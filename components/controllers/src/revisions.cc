#include "revisions.h"

namespace engenho::controllers {

namespace {

// A strategic merge patch that brings the template back.
json::Value patch_of(const core_v1::PodTemplateSpec& t) {
  json::Value out = json::Object();
  out["spec"]["template"] = k8s::to_json(t);
  out["spec"]["template"]["$patch"] = "replace";
  return out;
}

Result<std::vector<apps_v1::ControllerRevision>> claim(Environment& e, const PodOwner& owner) {
  std::vector<apps_v1::ControllerRevision> out;
  std::optional<bool> may_adopt;
  for (const auto& r : e.informers.get<apps_v1::ControllerRevision>().list(owner.namespace_name)) {
    const meta_v1::OwnerReference* now = controller_of(r->metadata);
    if (now != nullptr) {
      if (now->uid == owner.reference.uid) out.push_back(*r);
      continue;
    }
    if (owner.going || !matches(*owner.selector, r->metadata.labels) || !r->metadata.deletion_timestamp.is_zero()) continue;
    if (!may_adopt) {
      ENGENHO_ASSIGN(const bool there, owner.still_there());
      may_adopt = there;
    }
    if (!*may_adopt) continue;
    apps_v1::ControllerRevision next = *r;
    next.metadata.owner_references.push_back(owner.reference);
    auto adopted = e.client.update(next);
    if (adopted)
      out.push_back(std::move(*adopted));
    else if (!adopted.error().not_found())
      return err(adopted.error());
  }
  return out;
}

}  // namespace

Result<History> history_of(Environment& e, const PodOwner& owner, const core_v1::PodTemplateSpec& t, const std::map<std::string, std::string>& annotations,
                           const char* hash_label, int32_t collisions) {
  ENGENHO_ASSIGN(auto all, claim(e, owner));
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.revision, a.metadata.creation_timestamp.value_or(WallTime()), a.metadata.name) <
           std::tuple(b.revision, b.metadata.creation_timestamp.value_or(WallTime()), b.metadata.name);
  });
  const json::Value data = patch_of(t);
  History out;
  out.collisions = collisions;
  // Of several equal ones the newest counts.
  auto found = std::find_if(all.rbegin(), all.rend(), [&](const auto& r) { return r.data == data; });
  int64_t next = 1;
  for (const auto& r : all) {
    if (found == all.rend() || r.metadata.uid != found->metadata.uid) {
      next = std::max(next, r.revision + 1);
      out.old.push_back(r);
    }
  }
  if (found != all.rend()) {
    out.current = *found;
    if (out.current.revision < next) {  // rolled back to: the newest now
      out.current.revision = next;
      ENGENHO_ASSIGN(out.current, e.client.update(out.current));
    }
    return out;
  }
  const std::string text = json::dump(data);
  for (int attempt = 0; attempt < 20; ++attempt, ++out.collisions) {
    const std::string hash = name_hash(text, out.collisions);
    apps_v1::ControllerRevision r;
    r.metadata.namespace_ = owner.namespace_name;
    r.metadata.name = owner.reference.name.substr(0, 223) + "-" + hash;
    r.metadata.labels = t.metadata.labels;
    r.metadata.labels[hash_label] = hash;
    r.metadata.annotations = annotations;
    r.metadata.annotations.erase("kubectl.kubernetes.io/last-applied-configuration");
    r.metadata.owner_references.push_back(owner.reference);
    r.data = data;
    r.revision = next;
    auto created = e.client.create(r);
    if (created) {
      out.current = std::move(*created);
      return out;
    }
    if (!created.error().already_exists()) return err(created.error());
    // Either the informer is behind, or another template has this hash.
    auto there = e.client.get<apps_v1::ControllerRevision>(r.metadata.namespace_, r.metadata.name);
    if (!there) return err(there.error());
    const meta_v1::OwnerReference* its = controller_of(there->metadata);
    if (its != nullptr && its->uid == owner.reference.uid && there->data == data) {
      out.current = std::move(*there);
      return out;
    }
  }
  return err(internal_error("no free name for a revision of " + owner.reference.name));
}

Result<core_v1::PodTemplateSpec> template_of(const apps_v1::ControllerRevision& revision) {
  const json::Value* t = revision.data.at({"spec", "template"});
  if (t == nullptr) return err(internal_error("revision " + revision.metadata.name + " holds no template"));
  json::Value plain = *t;
  plain.make_object().erase("$patch");
  return k8s::from_json<core_v1::PodTemplateSpec>(plain);
}

Status trim_history(Environment& e, const std::vector<apps_v1::ControllerRevision>& old, int keep, const std::set<std::string>& live) {
  std::vector<const apps_v1::ControllerRevision*> idle;
  for (const auto& r : old) {
    if (!live.contains(r.metadata.name)) idle.push_back(&r);
  }
  for (int i = 0; i < static_cast<int>(idle.size()) - keep; ++i) {
    Status s = e.client.remove<apps_v1::ControllerRevision>(idle[static_cast<size_t>(i)]->metadata.namespace_, idle[static_cast<size_t>(i)]->metadata.name);
    if (!s.ok() && !s.not_found()) return s;
  }
  return {};
}

}  // namespace engenho::controllers
