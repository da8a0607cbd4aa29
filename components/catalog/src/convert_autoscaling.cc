// HorizontalPodAutoscaler autoscaling/v1 <-> v2. What v1 cannot say travels in annotations, as upstream writes them: metrics other than CPU
// utilization, their statuses and the conditions as lists of v1's own JSON, the behavior with the field names of the Go struct.
#include "convert_internal.h"

namespace engenho::catalog::conversion {

namespace {

constexpr std::string_view kMetrics = "autoscaling.alpha.kubernetes.io/metrics";
constexpr std::string_view kCurrentMetrics = "autoscaling.alpha.kubernetes.io/current-metrics";
constexpr std::string_view kConditions = "autoscaling.alpha.kubernetes.io/conditions";
constexpr std::string_view kBehavior = "autoscaling.alpha.kubernetes.io/behavior";

bool present(const json::Value* value) { return value != nullptr && !value->is_null(); }

void put(json::Value& to, std::string_view key, const json::Value* value) {
  if (present(value)) to[key] = *value;
}

// JSON text whose members stand in the order in which they were added: annotations are compared as text.
class OrderedJson {
 public:
  OrderedJson& add(std::string_view key, const json::Value* value) {
    if (!present(value)) return *this;
    return raw(key, json::dump(*value));
  }
  OrderedJson& add_or(std::string_view key, const json::Value* value, const json::Value& otherwise) {
    return raw(key, json::dump(present(value) ? *value : otherwise));
  }
  OrderedJson& raw(std::string_view key, std::string_view text) {
    if (!body_.empty()) body_ += ',';
    json::dump_string_to(key, body_);
    body_ += ':';
    body_ += text;
    return *this;
  }
  std::string text() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

bool is_cpu_utilization(const json::Value& metric) {
  return metric.str_at({"type"}) == "Resource" && metric.str_at({"resource", "name"}) == "cpu" &&
         present(metric.at({"resource", "target", "averageUtilization"}));
}

std::string reference_text(const json::Value* reference) {
  OrderedJson out;
  const json::Value empty;
  const json::Value& r = reference ? *reference : empty;
  out.add_or("kind", r.get("kind"), "").add_or("name", r.get("name"), "");
  out.add("apiVersion", r.get("apiVersion"));
  return out.text();
}

// --- v2 to v1

std::string metric_v1_text(const json::Value& metric) {
  OrderedJson out;
  out.add_or("type", metric.get("type"), "");
  if (const json::Value* o = metric.get("object")) {
    OrderedJson m;
    m.raw("target", reference_text(o->get("describedObject"))).add_or("metricName", o->at({"metric", "name"}), "");
    m.add_or("targetValue", o->at({"target", "value"}), "0");
    m.add("selector", o->at({"metric", "selector"})).add("averageValue", o->at({"target", "averageValue"}));
    out.raw("object", m.text());
  }
  if (const json::Value* p = metric.get("pods")) {
    OrderedJson m;
    m.add_or("metricName", p->at({"metric", "name"}), "").add_or("targetAverageValue", p->at({"target", "averageValue"}), "0");
    m.add("selector", p->at({"metric", "selector"}));
    out.raw("pods", m.text());
  }
  for (std::string_view name : {"resource", "containerResource"}) {
    if (const json::Value* r = metric.get(name)) {
      OrderedJson m;
      m.add_or("name", r->get("name"), "");
      m.add("targetAverageUtilization", r->at({"target", "averageUtilization"})).add("targetAverageValue", r->at({"target", "averageValue"}));
      m.add("container", r->get("container"));
      out.raw(name, m.text());
    }
  }
  if (const json::Value* e = metric.get("external")) {
    OrderedJson m;
    m.add_or("metricName", e->at({"metric", "name"}), "").add("metricSelector", e->at({"metric", "selector"}));
    m.add("targetValue", e->at({"target", "value"})).add("targetAverageValue", e->at({"target", "averageValue"}));
    out.raw("external", m.text());
  }
  return out.text();
}

std::string status_v1_text(const json::Value& metric) {
  OrderedJson out;
  out.add_or("type", metric.get("type"), "");
  if (const json::Value* o = metric.get("object")) {
    OrderedJson m;
    m.raw("target", reference_text(o->get("describedObject"))).add_or("metricName", o->at({"metric", "name"}), "");
    m.add_or("currentValue", o->at({"current", "value"}), "0");
    m.add("selector", o->at({"metric", "selector"})).add("averageValue", o->at({"current", "averageValue"}));
    out.raw("object", m.text());
  }
  if (const json::Value* p = metric.get("pods")) {
    OrderedJson m;
    m.add_or("metricName", p->at({"metric", "name"}), "").add_or("currentAverageValue", p->at({"current", "averageValue"}), "0");
    m.add("selector", p->at({"metric", "selector"}));
    out.raw("pods", m.text());
  }
  for (std::string_view name : {"resource", "containerResource"}) {
    if (const json::Value* r = metric.get(name)) {
      OrderedJson m;
      m.add_or("name", r->get("name"), "").add("currentAverageUtilization", r->at({"current", "averageUtilization"}));
      m.add_or("currentAverageValue", r->at({"current", "averageValue"}), "0").add("container", r->get("container"));
      out.raw(name, m.text());
    }
  }
  if (const json::Value* e = metric.get("external")) {
    OrderedJson m;
    m.add_or("metricName", e->at({"metric", "name"}), "").add("metricSelector", e->at({"metric", "selector"}));
    m.add_or("currentValue", e->at({"current", "value"}), "0").add("currentAverageValue", e->at({"current", "averageValue"}));
    out.raw("external", m.text());
  }
  return out.text();
}

std::string condition_text(const json::Value& c) {
  OrderedJson out;
  out.add_or("type", c.get("type"), "").add_or("status", c.get("status"), "").add_or("lastTransitionTime", c.get("lastTransitionTime"), nullptr);
  out.add("reason", c.get("reason")).add("message", c.get("message"));
  return out.text();
}

template <typename F>
std::string list_text(const json::Value& list, F item_text) {
  std::string out = "[";
  for (const json::Value& item : list.items()) {
    if (out.size() > 1) out += ',';
    out += item_text(item);
  }
  return out + "]";
}

std::string rules_text(const json::Value* rules) {
  if (!present(rules)) return "null";
  OrderedJson out;
  out.add_or("StabilizationWindowSeconds", rules->get("stabilizationWindowSeconds"), nullptr);
  out.add_or("SelectPolicy", rules->get("selectPolicy"), nullptr);
  const json::Value* policies = rules->get("policies");
  out.raw("Policies", !present(policies) ? "null" : list_text(*policies, [](const json::Value& p) {
    OrderedJson text;
    text.add_or("Type", p.get("type"), "").add_or("Value", p.get("value"), 0).add_or("PeriodSeconds", p.get("periodSeconds"), 0);
    return text.text();
  }));
  out.add_or("Tolerance", rules->get("tolerance"), nullptr);
  return out.text();
}

void drop_annotations(json::Value& object) {
  json::Value* annotations = object.at({"metadata", "annotations"});
  if (annotations == nullptr || !annotations->is_object()) return;
  for (std::string_view name : {kMetrics, kCurrentMetrics, kConditions, kBehavior}) annotations->as_object().erase(name);
  if (annotations->as_object().empty()) object["metadata"].as_object().erase("annotations");
}

// --- v1 to v2

json::Value target_of(std::string_view type, const json::Value* value, const json::Value* average, const json::Value* utilization) {
  json::Value out = json::Object();
  out["type"] = type;
  put(out, "value", value);
  put(out, "averageValue", average);
  put(out, "averageUtilization", utilization);
  return out;
}

json::Value identifier_of(const json::Value& from, std::string_view selector) {
  json::Value out = json::Object();
  out["name"] = from.str_at({"metricName"});
  put(out, "selector", from.get(selector));
  return out;
}

json::Value metric_v2(const json::Value& metric) {
  json::Value out = json::Object();
  out["type"] = metric.str_at({"type"});
  if (const json::Value* o = metric.get("object")) {
    json::Value& m = out["object"];
    const json::Value* average = o->get("averageValue");
    const json::Value* value = o->get("targetValue");
    const bool has_average = present(average);
    m["target"] = target_of(has_average ? "AverageValue" : "Value", has_average && value && value->str() == "0" ? nullptr : value, average, nullptr);
    put(m, "describedObject", o->get("target"));
    m["metric"] = identifier_of(*o, "selector");
  }
  if (const json::Value* p = metric.get("pods")) {
    json::Value& m = out["pods"];
    m["target"] = target_of("AverageValue", nullptr, p->get("targetAverageValue"), nullptr);
    m["metric"] = identifier_of(*p, "selector");
  }
  for (std::string_view name : {"resource", "containerResource"}) {
    if (const json::Value* r = metric.get(name)) {
      json::Value& m = out[name];
      m["name"] = r->str_at({"name"});
      put(m, "container", r->get("container"));
      const json::Value* utilization = r->get("targetAverageUtilization");
      m["target"] = target_of(present(utilization) ? "Utilization" : "AverageValue", nullptr, r->get("targetAverageValue"), utilization);
    }
  }
  if (const json::Value* e = metric.get("external")) {
    json::Value& m = out["external"];
    const json::Value* value = e->get("targetValue");
    m["target"] = target_of(present(value) ? "Value" : "AverageValue", value, e->get("targetAverageValue"), nullptr);
    m["metric"] = identifier_of(*e, "metricSelector");
  }
  return out;
}

json::Value status_v2(const json::Value& metric) {
  json::Value out = json::Object();
  out["type"] = metric.str_at({"type"});
  auto current = [](json::Value& m, const json::Value* value, const json::Value* average, const json::Value* utilization) {
    json::Value& c = m["current"] = json::Object();
    put(c, "value", value);
    put(c, "averageValue", average);
    put(c, "averageUtilization", utilization);
  };
  if (const json::Value* o = metric.get("object")) {
    json::Value& m = out["object"];
    current(m, o->get("currentValue"), o->get("averageValue"), nullptr);
    put(m, "describedObject", o->get("target"));
    m["metric"] = identifier_of(*o, "selector");
  }
  if (const json::Value* p = metric.get("pods")) {
    json::Value& m = out["pods"];
    current(m, nullptr, p->get("currentAverageValue"), nullptr);
    m["metric"] = identifier_of(*p, "selector");
  }
  for (std::string_view name : {"resource", "containerResource"}) {
    if (const json::Value* r = metric.get(name)) {
      json::Value& m = out[name];
      m["name"] = r->str_at({"name"});
      put(m, "container", r->get("container"));
      current(m, nullptr, r->get("currentAverageValue"), r->get("currentAverageUtilization"));
    }
  }
  if (const json::Value* e = metric.get("external")) {
    json::Value& m = out["external"];
    current(m, e->get("currentValue"), e->get("currentAverageValue"), nullptr);
    m["metric"] = identifier_of(*e, "metricSelector");
  }
  return out;
}

json::Value cpu_metric(const json::Value& utilization) {
  return json::Object{{"type", "Resource"},
                      {"resource", json::Object{{"name", "cpu"},
                                                {"target", json::Object{{"type", "Utilization"}, {"averageUtilization", utilization}}}}}};
}

json::Value rules_v2(const json::Value* rules) {
  json::Value out = json::Object();
  put(out, "stabilizationWindowSeconds", rules->get("StabilizationWindowSeconds"));
  put(out, "selectPolicy", rules->get("SelectPolicy"));
  put(out, "tolerance", rules->get("Tolerance"));
  if (const json::Value* policies = rules->get("Policies"); present(policies)) {
    json::Array list;
    for (const json::Value& p : policies->items()) {
      json::Value item = json::Object();
      put(item, "type", p.get("Type"));
      put(item, "value", p.get("Value"));
      put(item, "periodSeconds", p.get("PeriodSeconds"));
      list.push_back(std::move(item));
    }
    out["policies"] = std::move(list);
  }
  return out;
}

// The list in an annotation; null when it is not there or does not parse.
json::Value annotation(const json::Value& object, std::string_view name) {
  const json::Value* text = object.at({"metadata", "annotations", name});
  if (text == nullptr) return {};
  Result<json::Value> value = json::parse(text->str());
  return value ? std::move(*value) : json::Value();
}

}  // namespace

void hpa_v2_to_v1(json::Value& object) {
  drop_annotations(object);
  json::Value others = json::Array();
  bool has_cpu = false;
  if (json::Value* metrics = object.at({"spec", "metrics"}); present(metrics)) {
    const json::Value copy = std::move(*metrics);
    object["spec"].as_object().erase("metrics");
    for (const json::Value& metric : copy.items()) {
      if (!is_cpu_utilization(metric)) {
        others.as_array().push_back(metric);
      } else if (!has_cpu) {
        has_cpu = true;
        object["spec"]["targetCPUUtilizationPercentage"] = *metric.at({"resource", "target", "averageUtilization"});
      }
    }
  }
  if (!others.as_array().empty()) object["metadata"]["annotations"][kMetrics] = list_text(others, metric_v1_text);

  if (json::Value* behavior = object.at({"spec", "behavior"}); present(behavior)) {
    OrderedJson text;
    text.raw("ScaleUp", rules_text(behavior->get("scaleUp"))).raw("ScaleDown", rules_text(behavior->get("scaleDown")));
    object["metadata"]["annotations"][kBehavior] = text.text();
    object["spec"].as_object().erase("behavior");
  }
  if (json::Value* current = object.at({"status", "currentMetrics"})) {
    const json::Value copy = std::move(*current);
    object["status"].as_object().erase("currentMetrics");
    for (const json::Value& metric : copy.items()) {
      const json::Value* utilization = metric.at({"resource", "current", "averageUtilization"});
      if (metric.str_at({"resource", "name"}) == "cpu" && present(utilization)) {
        object["status"]["currentCPUUtilizationPercentage"] = *utilization;
      }
    }
    if (!copy.items().empty()) object["metadata"]["annotations"][kCurrentMetrics] = list_text(copy, status_v1_text);
  }
  if (json::Value* conditions = object.at({"status", "conditions"})) {
    const json::Value copy = std::move(*conditions);
    object["status"].as_object().erase("conditions");
    if (!copy.items().empty()) object["metadata"]["annotations"][kConditions] = list_text(copy, condition_text);
  }
}

void hpa_v1_to_v2(json::Value& object) {
  json::Array metrics;
  const json::Value others = annotation(object, kMetrics);
  for (const json::Value& metric : others.items()) metrics.push_back(metric_v2(metric));
  if (json::Value* utilization = object.at({"spec", "targetCPUUtilizationPercentage"})) {
    if (present(utilization)) metrics.push_back(cpu_metric(*utilization));
    object["spec"].as_object().erase("targetCPUUtilizationPercentage");
  }
  if (metrics.empty()) metrics.push_back(cpu_metric(80));
  object["spec"]["metrics"] = std::move(metrics);

  if (const json::Value behavior = annotation(object, kBehavior); behavior.is_object()) {
    json::Value out = json::Object();
    if (const json::Value* up = behavior.get("ScaleUp"); present(up)) out["scaleUp"] = rules_v2(up);
    if (const json::Value* down = behavior.get("ScaleDown"); present(down)) out["scaleDown"] = rules_v2(down);
    if (!out.as_object().empty()) object["spec"]["behavior"] = std::move(out);
  }
  if (json::Value* utilization = object.at({"status", "currentCPUUtilizationPercentage"})) {
    json::Value metric = json::Object{{"type", "Resource"}, {"resource", json::Object{{"name", "cpu"}}}};
    metric["resource"]["current"]["averageUtilization"] = *utilization;
    object["status"].as_object().erase("currentCPUUtilizationPercentage");
    object["status"]["currentMetrics"] = json::Array{metric};
  }
  if (const json::Value current = annotation(object, kCurrentMetrics); current.is_array()) {
    json::Array list;
    for (const json::Value& metric : current.items()) list.push_back(status_v2(metric));
    object["status"]["currentMetrics"] = std::move(list);
  }
  if (json::Value conditions = annotation(object, kConditions); conditions.is_array()) object["status"]["conditions"] = std::move(conditions);
  drop_annotations(object);
}

}  // namespace engenho::catalog::conversion
