// Claims and ingresses that name no class get the default one: the newest that is marked so.
#include "admission_plugins.h"

namespace engenho::apiserver {

namespace {

using json::Value;

class DefaultClass final : public AdmissionPlugin {
 public:
  struct What {
    std::string_view plugin, group, resource, member;  // the object's class is spec.<member>
    std::string_view old_annotation;                   // an object with it has chosen already
    std::string_view class_group, class_plural, mark;
  };
  DefaultClass(Rest& rest, const What& what) : rest_(rest), what_(what), classes_(rest.resources().find(what.class_group, "v1", what.class_plural)) {}
  std::string_view name() const override { return what_.plugin; }

  Status mutate(AdmissionRequest& r) override {
    if (!r.is(what_.group, what_.resource) || r.operation != Operation::kCreate || !r.subresource.empty() || r.object == nullptr) return {};
    const Value* chosen = r.object->at({"spec", what_.member});
    if ((chosen != nullptr && !chosen->is_null()) || r.object->at({"metadata", "annotations", what_.old_annotation}) != nullptr) return {};
    (void)rest_.hub().wait_for(rest_.hub().store().revision(), std::chrono::seconds(3));
    std::string best, best_time;
    for (const ObjectPtr& c : classes_->cacher->list(classes_->store_prefix, rest_.hub().revision_ref())) {
      const Value value = c->value();
      if (value.str_at({"metadata", "annotations", what_.mark}) != "true") continue;
      const std::string time(value.str_at({"metadata", "creationTimestamp"}));
      if (best.empty() || time > best_time) best = c->name(), best_time = time;
    }
    if (!best.empty()) (*r.object)["spec"][what_.member] = best;
    return {};
  }

 private:
  Rest& rest_;
  const What what_;
  ResourcePtr classes_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> default_storage_class(Rest& rest) {
  return std::make_unique<DefaultClass>(rest, DefaultClass::What{"DefaultStorageClass", "", "persistentvolumeclaims", "storageClassName", "volume.beta.kubernetes.io/storage-class",
                                                                 "storage.k8s.io", "storageclasses", "storageclass.kubernetes.io/is-default-class"});
}
std::unique_ptr<AdmissionPlugin> default_ingress_class(Rest& rest) {
  return std::make_unique<DefaultClass>(rest, DefaultClass::What{"DefaultIngressClass", "networking.k8s.io", "ingresses", "ingressClassName", "kubernetes.io/ingress.class",
                                                                 "networking.k8s.io", "ingressclasses", "ingressclass.kubernetes.io/is-default-class"});
}

}  // namespace engenho::apiserver
