"""openapi/<group>/kinds.yaml: kinds of our own, written by hand as OpenAPI. From one file come the documents of the type model (named schemas with
the facts that Go types give for Kubernetes' kinds) and the definitions that the API server serves them by."""
import copy
import os

import yaml

REF = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
OURS = ("x-engenho-always", "x-engenho-optional")


def capital(name):
    return name[:1].upper() + name[1:]


class Declared:
    """One kinds.yaml."""
    def __init__(self, path):
        with open(path) as f:
            self.document = yaml.safe_load(f)
        self.facts = self.document["x-engenho-group"]
        self.raw = self.document["components"]["schemas"]
        self.named = {}     # OpenAPI name -> schema of the type model
        self.path = path

    # --- the written schemas ---
    def resolve(self, prop):
        """Without $ref and allOf at the top; says which name it came by."""
        name = None
        while "$ref" in prop or "allOf" in prop:
            rest = {k: v for k, v in prop.items() if k not in ("$ref", "allOf")}
            ref = prop["$ref"] if "$ref" in prop else prop["allOf"][0]["$ref"]
            name = ref[len(REF):]
            if name not in self.raw:
                raise SystemExit(f"{self.path}: no schema {name}")
            prop = {**self.raw[name], **rest}
        return prop, name

    def inline(self, prop):
        """The whole schema without references, as a definition has it."""
        prop, _ = self.resolve(prop)
        out = {k: copy.deepcopy(v) for k, v in prop.items() if k not in OURS and k not in ("properties", "items", "additionalProperties")}
        if "properties" in prop:
            out["properties"] = {k: self.inline(v) for k, v in prop["properties"].items()}
        for member in ("items", "additionalProperties"):
            if member in prop:
                out[member] = self.inline(prop[member])
        return out

    # --- the type model ---
    def full_name(self, name):
        version, _, rest = name.rpartition(".")
        return f"{self.facts['package']}.{version or self.facts['storage']}.{rest}"

    def name_object(self, prop, name, suggestion):
        """An object with properties gets a name and stands for itself; returns the reference."""
        full = self.full_name(name or suggestion)
        if full not in self.named:
            self.named[full] = None     # a schema may contain itself
            self.named[full] = self.struct(prop, name or suggestion)
        return {"$ref": REF + full}

    def property_of(self, prop, parent, field):
        prop, name = self.resolve(prop)
        if prop.get("type") == "object" and "properties" in prop:
            return self.name_object(prop, name, parent + capital(field))
        out = {k: copy.deepcopy(v) for k, v in prop.items() if k in ("type", "format", "default", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")}
        if "items" in prop:
            out["items"] = self.property_of(prop["items"], parent, field.removesuffix("s"))
        if "additionalProperties" in prop:
            out["additionalProperties"] = self.property_of(prop["additionalProperties"], parent, field.removesuffix("s"))
        return out

    def struct(self, prop, name):
        properties, fields = {}, []
        required = prop.get("required", [])
        for field, written in prop["properties"].items():
            whole, _ = self.resolve(written)
            made = properties[field] = self.property_of(written, name, field)
            if "$ref" in made and field not in required:
                made = properties[field] = {"allOf": [made]}
            fields.append([field, self.flags(field, whole, made, required), "", 0, "", ""])
        short = name.rpartition(".")[2]
        out = {"type": "object", "properties": properties, "x-engenho-go": {"fields": fields, "type": f"{self.facts['storage']}.{short}"}}
        if required:
            out["required"] = required
        return out

    @staticmethod
    def flags(field, whole, made, required):
        if field in required or whole.get("x-engenho-always"):
            return ""
        scalar = whole.get("type") in ("string", "boolean", "integer", "number")
        optional = whole.get("x-engenho-optional") or whole.get("format") == "date-time" or (scalar and whole["type"] != "string" and "default" in whole)
        return "pe" if optional or "allOf" in made else "e"

    def kind_schemas(self, kind, version):
        names = {part: self.part_name(kind, version, part) for part in ("spec", "status")}
        prefix = f"{version}."
        base = [["kind", "e", "string", 0, "", ""], ["apiVersion", "e", "string", 0, "", ""]]
        properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                      "metadata": {"allOf": [{"$ref": REF + META + "ObjectMeta"}], "default": {}}}
        fields = base + [["metadata", "e", "v1.ObjectMeta", 0, "", ""]]
        for part, name in names.items():
            if name:
                properties[part] = self.name_object(self.raw[name], name, name)
                fields.append([part, "e", "", 0, "", ""])
        group = self.facts["group"]
        self.named[self.full_name(prefix + kind)] = {
            "type": "object", "properties": properties, "x-engenho-go": {"fields": fields, "kind": True, "type": f"{version}.{kind}"},
            "x-kubernetes-group-version-kind": [{"group": group, "kind": kind, "version": version}]}
        items = {"type": "array", "items": {"$ref": REF + self.full_name(prefix + kind)}}
        self.named[self.full_name(prefix + kind + "List")] = {
            "type": "object", "required": ["items"],
            "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                           "metadata": {"allOf": [{"$ref": REF + META + "ListMeta"}], "default": {}}, "items": items},
            "x-engenho-go": {"fields": base + [["metadata", "e", "v1.ListMeta", 0, "", ""], ["items", "", f"[]{version}.{kind}", 0, "", ""]],
                             "kind": True, "type": f"{version}.{kind}List"},
            "x-kubernetes-group-version-kind": [{"group": group, "kind": kind + "List", "version": version}]}

    def part_name(self, kind, version, part):
        """v1.ArchitectureGemSpec, or PangeaNamespaceSpec for all versions; status may go by a shorter name."""
        candidates = [f"{version}.{kind}{capital(part)}", kind + capital(part)]
        if part == "status":
            candidates += [self.SHORT_STATUS.get(kind, "")]
        return next((c for c in candidates if c in self.raw), None)

    SHORT_STATUS = {"ArchitectureGem": "GemStatus", "WorkspaceCatalog": "CatalogStatus", "InfrastructureTemplate": "TemplateStatus"}

    def add_to(self, model):
        for kind in self.document["x-engenho-kinds"]:
            for version in self.facts["versions"]:
                self.kind_schemas(kind["kind"], version)
        model.schemas.update(self.named)
        for rank, version in enumerate(self.facts["versions"]):
            model.group_versions.append({"group": self.facts["group"], "version": version, "priority": [1000, rank], "declared": True,
                                         "resources": sorted((self.resource(k, version) for k in self.document["x-engenho-kinds"]),
                                                             key=lambda r: r["plural"])})
        model.definitions += [self.definition(k) for k in self.document["x-engenho-kinds"]]

    def resource(self, kind, version):
        body = {"group": self.facts["group"], "version": version, "kind": kind["kind"]}
        subresources = [{"name": n, **body, "verbs": verbs} for n, verbs in kind.get("subresources", {}).items()]
        if self.part_name(kind["kind"], version, "status"):
            subresources.append({"name": "status", **body, "verbs": ["get", "patch", "update"]})
        return {"kind": kind["kind"], "plural": kind["plural"], "singular": kind["kind"].lower(), "namespaced": kind["scope"] == "Namespaced",
                "shortNames": kind["shortNames"], "categories": [self.facts["category"]], "columns": [], "verbs": VERBS,
                "storageGroup": self.facts["group"], "storageVersion": self.facts["storage"],
                "subresources": sorted(subresources, key=lambda s: s["name"])}

    def definition(self, kind):
        """The CustomResourceDefinition by which the kind would be served, were it not part of the program."""
        names = {"kind": kind["kind"], "listKind": kind["kind"] + "List", "plural": kind["plural"], "singular": kind["kind"].lower(),
                 "shortNames": kind["shortNames"], "categories": [self.facts["category"]]}
        versions = []
        for version in self.facts["versions"]:
            properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
            parts = {p: self.part_name(kind["kind"], version, p) for p in ("spec", "status")}
            properties.update({p: self.inline({"$ref": REF + n}) for p, n in parts.items() if n})
            columns = []
            for c in kind["columns"]:
                path = c["jsonPath"] if isinstance(c["jsonPath"], str) else c["jsonPath"][version]
                columns.append({**c, "jsonPath": path})
            versions.append({"name": version, "served": True, "storage": version == self.facts["storage"],
                             "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
                             "subresources": {"status": {}} if parts["status"] else {}, "additionalPrinterColumns": columns})
        return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{kind['plural']}.{self.facts['group']}", "generation": 1},
                "spec": {"group": self.facts["group"], "names": names, "scope": kind["scope"], "versions": versions},
                "x-engenho-subresources": kind.get("subresources", {}), "x-engenho-immutable": bool(kind.get("immutable")),
                "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]}}


def load(root, model):
    """Every kinds.yaml below `root`, in order of path."""
    for folder in sorted(os.listdir(root)):
        path = os.path.join(root, folder, "kinds.yaml")
        if os.path.exists(path):
            Declared(path).add_to(model)
