"""Typed structs: one header per Go package version, their special members and codec tables in .cc files."""
import re

from .registry import api_version
from .text import Source, quote

PER_FILE = 45
KEYWORDS = set("""alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const consteval constexpr
constinit const_cast continue co_await co_return co_yield decltype default delete do double dynamic_cast else enum explicit export extern
false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
register reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch template this thread_local
throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq""".split())
SPECIAL_NAMES = {"openAPIV3Schema": "open_api_v3_schema"}
SCALAR = {"kString": "std::string", "kBytes": "std::string", "kBool": "bool", "kInt32": "int32_t", "kInt64": "int64_t",
          "kDouble": "double", "kDuration": "std::string"}
VALUE = {"kTime": "Time", "kMicroTime": "MicroTime", "kQuantity": "Quantity", "kIntOrString": "IntOrString"}
RAW = {"kAny", "kRawExtension", "kJson", "kFieldsV1", "kSchemaOrArray", "kSchemaOrBool", "kSchemaOrStringArray"}
REP = {"kString": "kString", "kDuration": "kString", "kBytes": "kBytes", "kBool": "kBool", "kInt32": "kInt32", "kInt64": "kInt64",
       "kDouble": "kDouble", "kTime": "kTime", "kMicroTime": "kMicroTime", "kQuantity": "kQuantity", "kIntOrString": "kIntOrString"}


def snake(name):
    if name in SPECIAL_NAMES:
        return SPECIAL_NAMES[name]
    text = name.lstrip("$").replace("-", "_")
    text = re.sub(r"([A-Z]{2,})s(?=[A-Z]|$)", lambda m: m.group(1).capitalize() + "s", text)   # podIPs -> podIps
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", text)
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower()
    return text + "_" if text in KEYWORDS or name.startswith("$") else text


class Types:
    """The C++ types of one generation run and their TypeRef tables."""
    def __init__(self):
        self.refs = {}      # per .cc file: C++ type -> identifier

    def base(self, node):
        if node.kind in SCALAR:
            return SCALAR[node.kind]
        if node.kind in VALUE:
            return VALUE[node.kind]
        if node.kind in RAW:
            return "json::Value"
        if node.kind == "kArray":
            return f"std::vector<{self.base(node.element)}>"
        if node.kind == "kMap":
            return f"std::map<std::string, {self.base(node.element)}>"
        return f"{node.package}::{node.short}"

    def member(self, field):
        node, base = field.node, self.base(field.node)
        if field.pointer and (node.kind in SCALAR or node.kind in ("kQuantity", "kIntOrString")):
            return f"std::optional<{base}>"
        if field.pointer and node.kind == "kObject":
            return f"Box<{base}>"
        return base

    def ref(self, src, node, pointer=False):
        """The TypeRef of a node, declared in `src` when it is not there yet."""
        cpp = self.base(node)
        bytes_in = self.has_bytes(node)     # std::string is text or bytes: part of the identity
        if pointer and (node.kind in SCALAR or node.kind in ("kQuantity", "kIntOrString")):
            inner = self.ref(src, node)
            return self.declare(src, ("optional", cpp, bytes_in), f"{{Rep::kOptional, &{inner}, nullptr, &optional_ops<{cpp}>}}")
        if pointer and node.kind == "kObject":
            inner = self.ref(src, node)
            return self.declare(src, ("box", cpp), f"{{Rep::kBox, &{inner}, nullptr, &box_ops<{cpp}>}}")
        if node.kind in REP:
            return "kRef_" + REP[node.kind][1:]
        if node.kind in RAW:
            return "kRef_Value"
        if node.kind == "kArray":
            inner = self.ref(src, node.element)
            ops = "bool_vector_ops" if node.element.kind == "kBool" else f"vector_ops<{self.base(node.element)}>"
            return self.declare(src, ("vector", cpp, bytes_in), f"{{Rep::kVector, &{inner}, nullptr, &{ops}}}")
        if node.kind == "kMap":
            inner = self.ref(src, node.element)
            return self.declare(src, ("map", cpp, bytes_in), f"{{Rep::kMap, &{inner}, nullptr, &map_ops<{self.base(node.element)}>}}")
        return self.declare(src, ("struct", cpp), f"{{Rep::kStruct, nullptr, &{info_name(node)}, nullptr}}")

    def has_bytes(self, node):
        return node.kind == "kBytes" or (node.element is not None and not node.kind.startswith("kSchemaOr") and self.has_bytes(node.element))

    def declare(self, src, key, text):
        if key not in self.refs:
            self.refs[key] = f"T_{len(self.refs)}"
            src.add(f"constinit const TypeRef {self.refs[key]} = {text};")
        return self.refs[key]


def info_name(node):
    return "I_" + node.key[2:]


def visible_fields(node):
    """Fields that the struct has: apiVersion and kind of a kind are constants."""
    return [f for f in node.fields if not (node.top_level and f.name in ("apiVersion", "kind"))]


def by_value(node):
    """Object nodes that must be complete before `node` is defined."""
    out = []
    for field in visible_fields(node):
        inner, pointer = field.node, field.pointer
        while inner.kind in ("kArray", "kMap"):
            inner = inner.element
        if inner.kind == "kObject" and inner is not node and not (pointer and field.node.kind == "kObject"):
            out.append(inner)
    return out


def sort_structs(nodes):
    done, order, active = set(), [], set()

    def visit(node):
        if node.name in done or node.name in active:
            return
        active.add(node.name)
        for other in by_value(node):
            if other.package == node.package:
                visit(other)
        active.discard(node.name)
        done.add(node.name)
        order.append(node)
    for node in nodes:
        visit(node)
    return order


def packages_used(nodes, package):
    used = set()
    for node in nodes:
        for field in visible_fields(node):
            inner = field.node
            while inner.kind in ("kArray", "kMap"):
                inner = inner.element
            if inner.kind == "kObject" and inner.package != package:
                used.add(inner.package)
    return sorted(used)


def resource_index(model):
    """OpenAPI name -> (group version, resource) of the resources, for the structs' constants."""
    index = {}
    for gv in model.group_versions:
        for r in gv["resources"]:
            index[(gv["group"], gv["version"], r["kind"])] = r
    return index


def gvk_of(node, resources):
    """(group, version, kind) of a top-level struct."""
    for gvk in node.gvks:
        if (gvk["group"], gvk["version"], gvk["kind"]) in resources:
            return gvk["group"], gvk["version"], gvk["kind"]
    package = node.name.split(".")
    if "meta" in package:
        if node.short in ("Table", "TableOptions", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return "meta.k8s.io", "v1", node.short
        return "", "v1", node.short
    if node.gvks:
        gvk = node.gvks[0]
        return gvk["group"], gvk["version"], gvk["kind"]
    group = {"core": "", "admission": "admission.k8s.io", "apidiscovery": "apidiscovery.k8s.io", "apiextensions": "apiextensions.k8s.io",
             "metrics": "metrics.k8s.io"}.get(package[-3], package[-3])
    return group, package[-2], node.short


def emit_header(package, nodes, types, resources, out):
    src = Source(f"include/engenho/catalog/{package}.h")
    src.add("#pragma once", "", '#include "engenho/catalog/codec.h"')
    src.add(*(f'#include "engenho/catalog/{p}.h"' for p in packages_used(nodes, package)), '#include "engenho/catalog/types.h"', "")
    src.add(f"namespace engenho::k8s::{package} {{", "")
    src.add(*(f"struct {n.short};" for n in nodes), "")
    for node in nodes:
        name = node.short
        src.add(f"struct {name} {{")
        if node.top_level:
            group, version, kind = gvk_of(node, resources)
            src.add(f"  static constexpr std::string_view kGroup = {quote(group)}, kVersion = {quote(version)}, "
                    f"kApiVersion = {quote(api_version(group, version))}, kKind = {quote(kind)};")
            resource = resources.get((group, version, kind))
            if resource:
                src.add(f"  static constexpr std::string_view kResource = {quote(resource['plural'])};",
                        f"  static constexpr bool kNamespaced = {'true' if resource['namespaced'] else 'false'};")
        names = set()
        for field in sorted(visible_fields(node), key=lambda f: f.order):
            member, cpp = snake(field.name), types.member(field)
            if member in names:
                raise SystemExit(f"{node.name}: two members {member}")
            names.add(member)
            short = cpp.replace(f"{package}::", "")
            value = {"bool": " = false", "int32_t": " = 0", "int64_t": " = 0", "double": " = 0"}.get(cpp, "")
            src.add(f"  {short} {member}{value};")
        src.add("", f"  {name}();", f"  {name}(const {name}&);", f"  {name}({name}&&) noexcept;", f"  {name}& operator=(const {name}&);",
                f"  {name}& operator=({name}&&) noexcept;", f"  ~{name}();", f"  bool operator==(const {name}&) const;", "};", "")
    src.add(f"}}  // namespace engenho::k8s::{package}", "", "namespace engenho::k8s {")
    src.add(*(f"template <>\nconst StructInfo& struct_info<{package}::{n.short}>();" for n in nodes))
    src.add("}  // namespace engenho::k8s")
    out.write(src)


def emit_sources(package, nodes, types, resources, out):
    count = 0
    for start in range(0, len(nodes), PER_FILE):
        part = nodes[start:start + PER_FILE]
        types.refs = {}
        src = Source(f"structs_{package}_{count}.cc")
        count += 1
        src.add(f'#include "engenho/catalog/{package}.h"', "", '#include "codec_tables.h"', '#include "schema_tables.h"', "",
                '#pragma GCC diagnostic ignored "-Winvalid-offsetof"', "")
        src.add(f"namespace engenho::k8s::{package} {{")
        for node in part:
            n = node.short
            src.add(f"{n}::{n}() = default;", f"{n}::{n}(const {n}&) = default;", f"{n}::{n}({n}&&) noexcept = default;",
                    f"{n}& {n}::operator=(const {n}&) = default;", f"{n}& {n}::operator=({n}&&) noexcept = default;",
                    f"{n}::~{n}() = default;", f"bool {n}::operator==(const {n}&) const = default;")
        src.add(f"}}  // namespace engenho::k8s::{package}", "", "namespace engenho::k8s {")
        for node in part:
            members = []
            for field in node.fields:
                if node.top_level and field.name in ("apiVersion", "kind"):
                    members.append("{0, nullptr}")
                    continue
                ref = types.ref(src, field.node, field.pointer)
                members.append(f"{{offsetof({package}::{node.short}, {snake(field.name)}), &{ref}}}")
            info = info_name(node)
            if members:
                src.add(f"constinit const Member M_{info}[] = {{", *(f"  {m}," for m in members), "};")
            av, kind = "", ""
            if node.top_level:
                group, version, kind = gvk_of(node, resources)
                av = api_version(group, version)
            src.add(f"constinit const StructInfo {info} = {{&catalog::tables::{node.key}, {f'M_{info}' if members else 'nullptr'}, "
                    f"{quote(av)}, {quote(kind)}}};",
                    f"template <>\nconst StructInfo& struct_info<{package}::{node.short}>() {{\n  return {info};\n}}")
        src.add("}  // namespace engenho::k8s")
        out.write(src)


def superseded_packages(model):
    """Alpha and beta packages all of whose resources a better version of the group serves too: nobody needs structs for them."""
    best, out = {}, set()
    by_gvk = {(g["group"], g["version"], g["kind"]): node for node in model.nodes.values() for g in node.gvks}
    for gv in model.group_versions:     # preferred versions first
        kinds = [r["kind"] for r in gv["resources"]]
        if not re.fullmatch(r"v\d+", gv["version"]) and all((gv["group"], k) in best for k in kinds):
            out |= {by_gvk[(gv["group"], gv["version"], k)].package for k in kinds}
        for kind in kinds:
            best.setdefault((gv["group"], kind), gv["version"])
    return out


def emit(model, out):
    types, packages = Types(), {}
    resources = resource_index(model)
    superseded = superseded_packages(model)
    for name in sorted(model.nodes):
        node = model.nodes[name]
        if node.kind == "kObject" and not node.internal and node.package not in superseded:
            packages.setdefault(node.package, []).append(node)
    infos = Source("struct_infos.h")
    infos.add("#pragma once", "namespace engenho::k8s {", "struct StructInfo;")
    for package, nodes in sorted(packages.items()):
        nodes = sort_structs(nodes)
        infos.add(*(f"extern const StructInfo {info_name(n)};" for n in nodes))
        emit_header(package, nodes, types, resources, out)
        emit_sources(package, nodes, types, resources, out)
    infos.add("}  // namespace engenho::k8s")
    out.write(infos)
