#!/usr/bin/env python3
"""Writes openapi/v1.36/ from the interface facts of a Kubernetes release.

    codegen/import.py <facts folder> [--out openapi/v1.36]

The facts folder holds openapi/*.json, aggregated_v2.json, protobuf.json and table-columns.json; codegen/facts/ adds what those do not say
(order and pointers of the Go fields, defaults that are applied in code). Each group version becomes one OpenAPI v3 document with
`x-engenho-*` extensions; kinds that no group version serves (Table, AdmissionReview, ...) are in _unserved.json. The output is sorted and
stable: the same facts give the same bytes.

Extensions
  schema    x-engenho-go        {"type": Go name, "kind": top-level kind?, "fields": [[json name, flags, Go type, protobuf number, protobuf type, label]]}
                                in Go order; flags: p pointer, e omitempty, z omitzero, i embedded (name empty, type in its own schema)
            x-engenho-proto     protobuf message name
            x-engenho-defaults  {json name: value}
            x-engenho-internal  true: a Go struct that JSON shows only embedded in another
  document  x-engenho-group-version  {"group", "version", "priority": [place of the group, place of the version],
                                "resources": [...verbs, scope, names, columns, subresources, storage]}
"""
import argparse
import glob
import json
import os
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
REF = "#/components/schemas/"

# Resources whose objects live under another group or version than the preferred one of their group.
STORAGE = {("events.k8s.io", "events"): ("", "v1")}

# Kinds that no path serves and that are documents nevertheless.
UNSERVED = (
    [META + n for n in (
        "PartialObjectMetadata PartialObjectMetadataList Table TableOptions ListOptions GetOptions CreateOptions UpdateOptions "
        "PatchOptions DeleteOptions Status WatchEvent APIGroup APIGroupList APIResourceList APIVersions GroupVersionKind "
        "GroupVersionResource").split()]
    + ["io.k8s.api.admission.v1.AdmissionReview", "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList"]
    + ["io.k8s.api.core.v1." + n for n in (
        "PodLogOptions PodExecOptions PodAttachOptions PodPortForwardOptions PodProxyOptions ServiceProxyOptions NodeProxyOptions "
        "RangeAllocation SerializedReference").split()]
    + ["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionReview"]
    + ["io.k8s.metrics.pkg.apis.metrics.v1beta1." + n for n in "NodeMetrics NodeMetricsList PodMetrics PodMetricsList".split()])

# Types with a JSON form of their own: never expanded from their Go fields.
SPECIAL = {
    META + "Time", META + "MicroTime", META + "Duration", META + "FieldsV1", META + "Patch",
    "io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
}
SPECIAL_SCHEMA = {META + "Duration": {"type": "string"}, META + "FieldsV1": {"type": "object"}, META + "Patch": {"type": "object"}}


def go_short(name):
    """io.k8s.api.core.v1.PodSpec -> v1.PodSpec, as Go prints it."""
    parts = name.split(".")
    return ".".join(parts[-2:])


def proto_name(name):
    """OpenAPI name -> protobuf message name."""
    assert name.startswith("io.k8s.")
    return "k8s.io." + name[len("io.k8s."):].replace("-", "_")


class Facts:
    def __init__(self, folder):
        self.folder = folder
        go = json.load(open(os.path.join(HERE, "facts", "go-fields.json")))
        self.structs, self.types = go["structs"], go["types"]
        self.defaults = yaml.safe_load(open(os.path.join(HERE, "facts", "defaults.yaml"))) or {}
        self.discovery = json.load(open(os.path.join(folder, "aggregated_v2.json")))
        self.columns = json.load(open(os.path.join(folder, "table-columns.json")))
        self.messages = {}
        for entry in json.load(open(os.path.join(folder, "protobuf.json"))).values():
            for message, fields in entry["messages"].items():
                self.messages[entry["package"] + "." + message] = {f[1]: f for f in fields}
        self.used_defaults = set()

    def underlying(self, go_type):
        while go_type in self.types:
            go_type = self.types[go_type]
        return go_type

    def short(self, go_type):
        """Go type as an error message shows it; the full name where it names a struct of ours."""
        if go_type.startswith("[]"):
            return "[]" + self.short(go_type[2:])
        if go_type.startswith("map["):
            key, value = go_type[4:].split("]", 1)
            return f"map[{self.short(key)}]{self.short(value)}"
        if go_type == "[]byte" or go_type == "byte":
            return "uint8"
        return go_short(go_type) if go_type.startswith("io.k8s.") else go_type

    def decorate(self, name, schema):
        """Adds our extensions to one component schema."""
        schema = dict(schema)
        if name in SPECIAL:
            schema["x-engenho-go"] = {"type": go_short(name), "fields": []}
            return schema
        alias = name
        while alias in self.types and alias not in self.structs:
            alias = self.types[alias]
        if alias not in self.structs:
            sys.exit(f"no Go facts for {name}")
        message = self.messages.get(proto_name(name)) or self.messages.get(proto_name(alias))
        rows, kind, seen = [], False, set()
        for json_name, flags, go_type, number in self.structs[alias]:
            if "i" in flags and go_type == META + "TypeMeta":
                kind = True
                rows += [["kind", "e", "string", 0, "", ""], ["apiVersion", "e", "string", 0, "", ""]]
                seen |= {"kind", "apiVersion"}
                continue
            proto_type = label = ""
            if message and number:
                if number not in message:
                    sys.exit(f"{name}.{json_name}: protobuf field {number} is not in the message")
                proto_type, label = message[number][2], message[number][3]
            row = [json_name, flags, self.short(go_type), number if message else 0, proto_type, label]
            if "i" in flags:
                row.append(go_type)
            rows.append(row)
            seen |= self.json_names(go_type) if "i" in flags else {json_name}
        missing = set(schema.get("properties", {})) - seen
        if missing:
            sys.exit(f"{name}: no Go field for {sorted(missing)}")
        schema["x-engenho-go"] = {"type": go_short(name), "fields": rows}
        if kind:
            schema["x-engenho-go"]["kind"] = True
        if message is not None:
            schema["x-engenho-proto"] = proto_name(name)
        defaults = self.defaults.get(name)
        if defaults:
            self.used_defaults.add(name)
            for field in defaults:
                if field not in seen:
                    sys.exit(f"defaults.yaml: {name} has no field {field}")
            schema["x-engenho-defaults"] = defaults
        return schema

    def json_names(self, struct):
        while struct in self.types:
            struct = self.types[struct]
        names = set()
        for json_name, flags, go_type, _ in self.structs[struct]:
            names |= self.json_names(go_type) if "i" in flags else {json_name}
        return names

    def embedded(self, name):
        """The structs that `name` embeds, with theirs."""
        while name in self.types and name not in self.structs:
            name = self.types[name]
        out = []
        for _, flags, go_type, _ in self.structs.get(name, []):
            if "i" in flags and go_type != META + "TypeMeta" and name not in SPECIAL:
                out += [go_type] + self.embedded(go_type)
        return out

    def synthesize(self, name):
        """An OpenAPI schema made from Go fields, for a type that the served documents do not hold."""
        if name in SPECIAL:
            return SPECIAL_SCHEMA[name]
        alias = self.underlying(name)
        properties = {}
        for json_name, flags, go_type, _ in self.structs[alias]:
            if "i" in flags:
                if go_type == META + "TypeMeta":
                    properties["kind"] = properties["apiVersion"] = {"type": "string"}
                else:
                    properties.update(self.synthesize(go_type)["properties"])
                continue
            properties[json_name] = self.of_type(go_type)
        return {"properties": properties, "type": "object"}

    def of_type(self, go_type):
        scalars = {"string": {"type": "string"}, "bool": {"type": "boolean"}, "int32": {"format": "int32", "type": "integer"},
                   "int64": {"format": "int64", "type": "integer"}, "float64": {"format": "double", "type": "number"},
                   "[]byte": {"format": "byte", "type": "string"}, "interface{}": {}}
        base = self.underlying(go_type) if go_type not in self.structs and go_type not in SPECIAL else go_type
        if base in scalars:
            return dict(scalars[base])
        if base.startswith("[]"):
            return {"items": self.of_type(base[2:]), "type": "array"}
        if base.startswith("map["):
            return {"additionalProperties": self.of_type(base.split("]", 1)[1]), "type": "object"}
        return {"$ref": REF + base}


def refs_of(value, out):
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                out.add(item[len(REF):])
            else:
                refs_of(item, out)
    elif isinstance(value, list):
        for item in value:
            refs_of(item, out)


def complete(facts, schemas, known):
    """Adds what `schemas` refers to or embeds, decorated."""
    todo = sorted(schemas)
    done = {}
    while todo:
        name = todo.pop()
        if name in done:
            continue
        internal = False
        schema = schemas.get(name, known.get(name))
        if schema is None:
            schema = facts.synthesize(name)
        done[name] = facts.decorate(name, schema)
        refs = set()
        refs_of(schema, refs)
        todo += sorted(refs)
        for hidden in facts.embedded(name):
            if hidden not in schemas and hidden not in known:
                if hidden not in done:
                    done[hidden] = facts.decorate(hidden, dict(facts.synthesize(hidden)))
                    done[hidden]["x-engenho-internal"] = True
                    refs = set()
                    refs_of(done[hidden], refs)
                    todo += sorted(refs - set(done))
            else:
                todo.append(hidden)
    return done


def resource_facts(facts, group, version, resource, storage_version):
    kind = resource["responseKind"]["kind"]
    subs = []
    for sub in resource.get("subresources", []):
        body = sub.get("responseKind") or {"group": "", "version": "", "kind": ""}
        same = not body["version"]
        subs.append({"name": sub["subresource"], "group": group if same else body["group"],
                     "version": version if same else body["version"], "kind": body["kind"], "verbs": sorted(sub["verbs"])})
    storage_group, stored = STORAGE.get((group, resource["resource"]), (group, storage_version))
    return {
        "plural": resource["resource"], "singular": resource["singularResource"], "kind": kind,
        "namespaced": resource["scope"] == "Namespaced", "verbs": sorted(resource["verbs"]),
        "shortNames": resource.get("shortNames", []), "categories": resource.get("categories", []),
        "subresources": sorted(subs, key=lambda s: s["name"]), "columns": facts.columns.get(kind, []),
        "storageGroup": storage_group, "storageVersion": stored}


def discovery_items(facts):
    """(group, version, priority, resources) of all group versions, the core group first."""
    items = [i for i in facts.discovery["items"]]
    if not any(not i["metadata"].get("name") for i in items):
        items.insert(0, {"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": core_resources(facts)}]})
    for group_place, item in enumerate(items):
        group = item["metadata"].get("name", "")
        for version_place, entry in enumerate(item["versions"]):
            first = {}
            for v in item["versions"]:
                for r in v["resources"]:
                    first.setdefault(r["resource"], v["version"])
            yield group, entry["version"], [group_place, version_place], [
                resource_facts(facts, group, entry["version"], r, first[r["resource"]]) for r in
                sorted(entry["resources"], key=lambda r: r["resource"])]


def core_resources(facts):
    """The core group's resources, which aggregated discovery lists under /api and the facts only show as paths."""
    doc = json.load(open(os.path.join(facts.folder, "openapi", "api__v1.json")))
    names = yaml.safe_load(open(os.path.join(HERE, "facts", "core-names.yaml")))
    found = {}
    for path, methods in doc["paths"].items():
        parts = path.strip("/").split("/")[2:]
        if not parts or parts[0] == "watch":
            continue
        namespaced = parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize")
        if namespaced:
            parts = parts[2:]
        for method, operation in methods.items():
            if not isinstance(operation, dict):
                continue  # parameters of the whole path
            action, gvk = operation.get("x-kubernetes-action"), operation.get("x-kubernetes-group-version-kind")
            if not action:
                continue
            plural = parts[0]
            entry = found.setdefault(plural, {"verbs": set(), "subs": {}, "namespaced": False})
            entry["namespaced"] |= namespaced
            verb = {"post": "create", "put": "update"}.get(action, action)
            if len(parts) > 2:
                if len(parts) > 3:
                    continue  # proxy paths
                sub = entry["subs"].setdefault(parts[2], {"verbs": set(), "kind": gvk})
                if verb == "connect":
                    verb = {"get": "get", "post": "create", "put": "update", "delete": "delete", "patch": "patch"}.get(method)
                if verb:
                    sub["verbs"].add(verb)
            else:
                entry["kind"] = gvk["kind"]
                entry["verbs"].add(verb)
    out = []
    for plural, entry in sorted(found.items()):
        if "kind" not in entry:
            sys.exit(f"core resource {plural} without a kind")
        verbs = entry["verbs"]
        verbs.discard("watchlist")
        if "list" in verbs and plural != "componentstatuses":
            verbs.add("watch")
        extra = names.get(plural, {})
        out.append({
            "resource": plural, "singularResource": entry["kind"].lower(),
            "responseKind": {"group": "", "version": "", "kind": entry["kind"]},
            "scope": "Namespaced" if entry["namespaced"] else "Cluster", "verbs": sorted(verbs),
            "shortNames": extra.get("shortNames", []), "categories": extra.get("categories", []),
            "subresources": [{"subresource": s, "verbs": sorted(v["verbs"]), "responseKind": v["kind"]} for s, v in entry["subs"].items()]})
    return out


def dump(path, doc):
    """JSON with one schema, path or resource a line: compact, and a diff stays readable."""
    def one(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    def block(mapping):
        return "{\n" + ",\n".join(f"{one(k)}:{one(v)}" for k, v in sorted(mapping.items())) + "\n}"
    parts = ['"components":{"schemas":' + block(doc["components"]["schemas"]) + "}"]
    for key in sorted(doc):
        if key == "components":
            continue
        if key == "paths":
            parts.append('"paths":' + block(doc["paths"]))
        elif key == "x-engenho-group-version":
            gv = dict(doc[key])
            resources = gv.pop("resources")
            text = one(gv)[:-1] + ',"resources":[\n' + ",\n".join(one(r) for r in resources) + "\n]}"
            parts.append(f'"{key}":{text}')
        else:
            parts.append(f"{one(key)}:{one(doc[key])}")
    with open(path, "w") as out:
        out.write("{" + ",\n".join(parts) + "}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facts")
    parser.add_argument("--out", default=os.path.join(HERE, "..", "openapi", "v1.36"))
    args = parser.parse_args()
    facts = Facts(args.facts)
    os.makedirs(args.out, exist_ok=True)
    for old in glob.glob(os.path.join(args.out, "*.json")):
        os.remove(old)

    documents = {}
    known = {}
    for group, version, priority, resources in discovery_items(facts):
        name = f"apis__{group}__{version}.json" if group else f"api__{version}.json"
        doc = json.load(open(os.path.join(facts.folder, "openapi", name)))
        known.update(doc["components"]["schemas"])
        documents[(group, version)] = (doc, priority, resources)
    for (group, version), (doc, priority, resources) in documents.items():
        schemas = complete(facts, doc["components"]["schemas"], {})
        doc["components"]["schemas"] = schemas
        doc["x-engenho-group-version"] = {"group": group, "version": version, "priority": priority, "resources": resources}
        dump(os.path.join(args.out, f"{group or 'core'}_{version}.json"), doc)
    dump(os.path.join(args.out, "_unserved.json"),
         {"openapi": "3.0.0", "components": {"schemas": complete(facts, {n: known[n] if n in known else facts.synthesize(n) for n in UNSERVED}, known)}})
    unused = set(facts.defaults) - facts.used_defaults
    if unused:
        sys.exit(f"defaults.yaml: no such type {sorted(unused)}")


if __name__ == "__main__":
    main()
