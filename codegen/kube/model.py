"""openapi/ as one unified type model: every schema once, anonymous nodes interned."""
import glob
import json
import os
import re

from . import declared

REF = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
APIEXT = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

SPECIAL = {
    META + "Time": "kTime", META + "MicroTime": "kMicroTime", META + "Duration": "kDuration", META + "FieldsV1": "kFieldsV1",
    META + "Patch": "kAny",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "kQuantity", "io.k8s.apimachinery.pkg.runtime.RawExtension": "kRawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "kIntOrString", APIEXT + "JSON": "kJson",
    APIEXT + "JSONSchemaPropsOrArray": "kSchemaOrArray", APIEXT + "JSONSchemaPropsOrBool": "kSchemaOrBool",
    APIEXT + "JSONSchemaPropsOrStringArray": "kSchemaOrStringArray",
}
SCALARS = {("string", None): ("kString", "string"), ("boolean", None): ("kBool", "bool"), ("integer", "int32"): ("kInt32", "int32"),
           ("integer", "int64"): ("kInt64", "int64"), ("integer", None): ("kInt64", "int64"), ("number", "double"): ("kDouble", "float64"),
           ("number", None): ("kDouble", "float64"), ("string", "byte"): ("kBytes", "[]uint8"), ("string", "date-time"): ("kTime", "v1.Time")}
PATCH = {None: "kReplace", "merge": "kMerge", "retainKeys": "kRetainKeys", "merge,retainKeys": "kMergeRetainKeys", "replace": "kReplace"}


class Node:
    """One schema::Schema."""
    def __init__(self, kind, name="", go_type=""):
        self.kind, self.name, self.go_type = kind, name, go_type
        self.list_type, self.keys, self.atomic = "kNone", (), False
        self.wrapped = self.top_level = self.internal = self.has_proto = False
        self.fields, self.embedded, self.element = [], [], None
        self.key = None     # C++ identifier
        self.gvks = []

    @property
    def short(self):
        return self.name.rsplit(".", 1)[-1]

    @property
    def package(self):
        """io.k8s.api.core.v1.Pod -> core_v1: the C++ namespace and header."""
        parts = self.name.split(".")
        if parts[-2] == "runtime":
            return "runtime"
        return f"{parts[-3]}_{parts[-2]}".replace("-", "_")


class Field:
    def __init__(self, name):
        self.name, self.node, self.default, self.merge_key, self.patch = name, None, None, "", "kReplace"
        self.order = self.proto = 0
        self.required = self.pointer = self.omit_empty = self.omit_zero = self.atomic = False


def identifier(text):
    return re.sub(r"[^A-Za-z0-9]", "_", text)


class Model:
    def __init__(self, folder):
        self.schemas, self.documents, self.group_versions = {}, {}, []
        self.definitions = []   # of the kinds that are served like custom resources (declared.py)
        for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
            doc = json.load(open(path))
            for name, schema in doc["components"]["schemas"].items():
                known = self.schemas.setdefault(name, schema)
                gvk = "x-kubernetes-group-version-kind"
                if {k: v for k, v in known.items() if k != gvk} != {k: v for k, v in schema.items() if k != gvk}:
                    raise SystemExit(f"{path}: {name} differs from the same schema in another document")
            gv = doc.pop("x-engenho-group-version", None)
            if gv:
                self.group_versions.append(gv)
                self.documents[(gv["group"], gv["version"])] = doc
        declared.load(os.path.dirname(os.path.abspath(folder)), self)
        self.group_versions.sort(key=lambda g: g["priority"])
        self.nodes = {}         # OpenAPI name -> Node
        self.anonymous = {}     # structure -> Node
        for name in sorted(self.schemas):
            self.node_of(name)

    def node_of(self, name):
        if name in self.nodes:
            return self.nodes[name]
        schema = self.schemas[name]
        go = schema["x-engenho-go"]
        node = self.nodes[name] = Node(SPECIAL.get(name, "kObject"), name, go["type"])
        node.key = "S_" + identifier(self.short_id(name))
        node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        node.top_level = bool(go.get("kind"))
        node.internal = bool(schema.get("x-engenho-internal"))
        node.has_proto = "x-engenho-proto" in schema
        node.gvks = schema.get("x-kubernetes-group-version-kind", [])
        if node.kind != "kObject":
            if node.kind.startswith("kSchemaOr"):
                node.element = self.node_of(APIEXT + "JSONSchemaProps")
            return node
        rows = self.rows(name)
        required = set(schema.get("required", []))
        defaults = schema.get("x-engenho-defaults", {})
        for order, (json_name, flags, go_type, number, proto_type, _label, direct) in enumerate(rows):
            prop = schema.get("properties", {}).get(json_name)
            if prop is None:
                continue  # a Go field that the API does not show
            field = Field(json_name)
            field.order = order
            field.node = self.of_property(prop, go_type, proto_type)
            field.proto = number if direct else 0
            field.pointer, field.omit_empty, field.omit_zero = "p" in flags, "e" in flags, "z" in flags
            field.required = json_name in required
            field.patch = PATCH[prop.get("x-kubernetes-patch-strategy")]
            field.merge_key = prop.get("x-kubernetes-patch-merge-key", "")
            field.atomic = prop.get("x-kubernetes-map-type") == "atomic" and field.node.kind == "kObject"
            field.default = defaults.get(json_name, prop.get("default"))
            node.fields.append(field)
        node.fields.sort(key=lambda f: f.name.encode())
        for row in go["fields"]:
            if "i" in row[1]:
                node.embedded.append((row[3], self.node_of(row[6])))
        return node

    def rows(self, name):
        """Go fields with embedded structs flattened; the last element says whether it is the message's own field."""
        out = []
        for row in self.schemas[name]["x-engenho-go"]["fields"]:
            if "i" in row[1]:
                out += [r[:6] + (False,) for r in self.rows(row[6])]
            else:
                out.append(tuple(row[:6]) + (True,))
        return out

    def of_property(self, prop, go_type, proto_type):
        """The node of a property or of an element."""
        if "$ref" in prop:
            return self.node_of(prop["$ref"][len(REF):])
        if "allOf" in prop:
            return self.node_of(prop["allOf"][0]["$ref"][len(REF):])
        kind = prop.get("type")
        if kind == "array":
            element_go = go_type[2:] if go_type.startswith("[]") else ""
            element = self.of_property(prop["items"], element_go, proto_type)
            wrapped = proto_type.rsplit(".", 1)[-1] in ("ExtraValue", "Verbs")
            if not go_type:
                go_type = "[]" + element.go_type
            return self.intern("kArray", go_type, element, prop.get("x-kubernetes-list-type"),
                               tuple(prop.get("x-kubernetes-list-map-keys", ())), False, wrapped)
        if kind == "object":
            if "additionalProperties" not in prop:
                raise SystemExit(f"object without a type: {prop}")
            value_go = go_type.split("]", 1)[1] if go_type.startswith("map[") else ""
            value_proto = proto_type[proto_type.find(",") + 1:-1] if proto_type.startswith("map<") else ""
            element = self.of_property(prop["additionalProperties"], value_go, value_proto)
            if not go_type:
                go_type = f"map[string]{element.go_type}"
            return self.intern("kMap", go_type, element, None, (), prop.get("x-kubernetes-map-type") == "atomic", False)
        if kind is None:
            return self.intern("kAny", "interface {}", None, None, (), False, False)
        scalar, plain = SCALARS[(kind, prop.get("format"))]
        return self.intern(scalar, "[]uint8" if scalar == "kBytes" else go_type or plain, None, None, (), False, False)

    def intern(self, kind, go_type, element, list_type, keys, atomic, wrapped):
        structure = (kind, go_type, element.key if element else "", list_type, keys, atomic, wrapped)
        node = self.anonymous.get(structure)
        if node is None:
            node = self.anonymous[structure] = Node(kind, "", go_type)
            node.key = f"A_{len(self.anonymous)}"
            node.element, node.keys, node.atomic, node.wrapped = element, keys, atomic, wrapped
            node.list_type = {None: "kNone", "atomic": "kAtomic", "set": "kSet", "map": "kMap"}[list_type]
        return node

    @staticmethod
    def short_id(name):
        parts = name.split(".")
        return f"{parts[-3]}_{parts[-2]}_{parts[-1]}"
