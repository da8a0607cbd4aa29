#!/usr/bin/env python3
"""The cluster's DNS, asked over the wire on the Service kube-dns: by the Kubernetes DNS specification 1.1.0. Part of e2e_test, which starts the cluster.

  conformance/dns_test.py KUBECTL UPSTREAM-PORT     (KUBECONFIG says where; the server's resolv.conf must name 127.0.0.1:UPSTREAM-PORT)
"""
import json, socket, struct, subprocess, sys, threading, time

KUBECTL, UPSTREAM = sys.argv[1], int(sys.argv[2])
A, CNAME, SOA, PTR, TXT, AAAA, SRV = 1, 5, 6, 12, 16, 28, 33
ZONE = "dnstest.svc.cluster.local"


def kubectl(*arguments, text=None):
    return subprocess.run([KUBECTL, *arguments], input=text, text=True, capture_output=True, timeout=30, check=True).stdout


def encode(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")) + b"\0"


def decode(message, at):
    parts, jumped = [], None
    while message[at]:
        if message[at] >= 0xC0:
            jumped = jumped or at + 2
            at = (message[at] & 0x3F) << 8 | message[at + 1]
            continue
        parts.append(message[at + 1:at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(parts), jumped or at + 1


class Answer:
    def __init__(self, message):
        self.id, flags, questions, answers, authority, additional = struct.unpack(">6H", message[:12])
        self.rcode, self.truncated, self.authoritative = flags & 15, bool(flags & 0x200), bool(flags & 0x400)
        at, self.records, self.authority = 12, [], []
        for _ in range(questions):
            at = decode(message, at)[1] + 4
        for i in range(answers + authority):
            name, at = decode(message, at)
            kind, _, ttl, length = struct.unpack(">HHIH", message[at:at + 10])
            at += 10
            data = message[at:at + length]
            if kind == A:
                data = socket.inet_ntoa(data)
            elif kind in (CNAME, PTR):
                data = decode(message, at)[0]
            elif kind == SRV:
                data = struct.unpack(">3H", data[:6])[2], decode(message, at + 6)[0]
            (self.records if i < answers else self.authority).append((name, kind, data))
            at += length

    def data(self, kind):
        return sorted(d for _, k, d in self.records if k == kind)


def ask(name, kind=A, tcp=False, edns=0):
    query = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 1 if edns else 0) + encode(name) + struct.pack(">2H", kind, 1)
    if edns:
        query += b"\0" + struct.pack(">2HIH", 41, edns, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(6)
        s.connect((SERVER, 53))
        if tcp:
            s.sendall(struct.pack(">H", len(query)) + query)
            data = b""
            while len(data) < 2 or len(data) < 2 + struct.unpack(">H", data[:2])[0]:
                some = s.recv(65536)
                assert some, "the connection ends in the middle of an answer"
                data += some
            data = data[2:]
        else:
            s.send(query)
            data = s.recv(65536)
    assert data[:2] == query[:2], "the answer has another id"
    return Answer(data)


def eventually(what, condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def upstream():
    """A resolver outside: one name, which it answers with 192.0.2.77, by UDP."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", UPSTREAM))
    while True:
        message, peer = s.recvfrom(4096)
        name, at = decode(message, 12)
        known = name.lower() == "www.outside.test" and struct.unpack(">H", message[at:at + 2])[0] == A
        s.sendto(message[:2] + struct.pack(">5H", 0x8180 | (0 if known else 3), 1, 1 if known else 0, 0, 0) + message[12:at + 4] +
                 (b"\xc0\x0c" + struct.pack(">2HIH", A, 1, 60, 4) + socket.inet_aton("192.0.2.77") if known else b""), peer)


threading.Thread(target=upstream, daemon=True).start()
kubectl("create", "namespace", "dnstest")
try:
    port = lambda name, number, protocol="TCP": {"name": name, "port": number, "protocol": protocol}
    service = lambda name, **spec: {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "dnstest"}, "spec": spec}

    def slice_of(name, endpoints, ports):
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "namespace": "dnstest", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports}

    kubectl("create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        service("plain", ports=[port("http", 80), port("dns", 53, "UDP")]),
        service("headless", clusterIP="None", ports=[port("http", 8080)]),
        slice_of("headless", [{"addresses": ["192.0.2.1"], "hostname": "first", "conditions": {"ready": True}}, {"addresses": ["192.0.2.2"], "conditions": {"ready": True}},
                              {"addresses": ["192.0.2.3"], "conditions": {"ready": False}}], [port("http", 8080)]),
        service("unready", clusterIP="None", publishNotReadyAddresses=True, ports=[port("http", 8080)]),
        slice_of("unready", [{"addresses": ["192.0.2.4"], "conditions": {"ready": False}}], [port("http", 8080)]),
        service("many", clusterIP="None", ports=[port("http", 8080)]),
        slice_of("many", [{"addresses": [f"192.0.2.{i}"], "conditions": {"ready": True}} for i in range(1, 201)], [port("http", 8080)]),
        service("alias", type="ExternalName", externalName="www.outside.test"),
        service("inside", type="ExternalName", externalName=f"plain.{ZONE}"),
        service("nowhere", type="ExternalName", externalName="no.such.name.test")]}))
    plain = kubectl("get", "service", "plain", "-n", "dnstest", "-o", "jsonpath={.spec.clusterIP}")
    SERVER = kubectl("get", "service", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}")
    eventually("the many endpoints get no names", lambda: len(ask("many." + ZONE, tcp=True).records) == 200)
    eventually("the service gets no name", lambda: ask("plain." + ZONE).data(A) == [plain])

    a = ask("plain." + ZONE)
    assert a.rcode == 0 and a.authoritative and a.data(A) == [plain], vars(a)
    assert ask("PlAiN." + ZONE.upper()).data(A) == [plain]
    a = ask("plain." + ZONE, AAAA)
    assert a.rcode == 0 and not a.records and a.authority[0][1] == SOA, vars(a)
    assert ask("_http._tcp.plain." + ZONE, SRV).data(SRV) == [(80, "plain." + ZONE)]
    assert ask("_dns._udp.plain." + ZONE, SRV).data(SRV) == [(53, "plain." + ZONE)]
    assert ask("_dns._tcp.plain." + ZONE, SRV).rcode == 3
    assert ask(".".join(reversed(plain.split("."))) + ".in-addr.arpa", PTR).data(PTR) == ["plain." + ZONE]
    assert ask("headless." + ZONE).data(A) == ["192.0.2.1", "192.0.2.2"]
    assert ask("first.headless." + ZONE).data(A) == ["192.0.2.1"]
    assert ask("192-0-2-2.headless." + ZONE).data(A) == ["192.0.2.2"]
    assert ask("_http._tcp.headless." + ZONE, SRV).data(SRV) == [(8080, "192-0-2-2.headless." + ZONE), (8080, "first.headless." + ZONE)]
    assert ask("unready." + ZONE).data(A) == ["192.0.2.4"]
    assert ask("192-0-2-9.dnstest.pod.cluster.local").data(A) == ["192.0.2.9"]
    assert ask("dns-version.cluster.local", TXT).data(TXT) == [b"\x051.1.0"]
    for name in ("no." + ZONE, "plain.nonamespace.svc.cluster.local", "no.first.headless." + ZONE, "nothing.cluster.local"):
        a = ask(name)
        assert a.rcode == 3 and a.authority and a.authority[0][1] == SOA, (name, vars(a))
    assert ask(ZONE).rcode == 0  # names are below it

    a = ask("many." + ZONE)
    assert a.truncated and len(a.records) < 200, vars(a)
    a = ask("many." + ZONE, edns=4096)
    assert not a.truncated and len(a.records) == 200, (a.truncated, len(a.records))
    a = ask("many." + ZONE, tcp=True)
    assert not a.truncated and len(a.records) == 200

    assert ask("www.outside.test").data(A) == ["192.0.2.77"]
    assert ask("www.outside.test", tcp=True).data(A) == ["192.0.2.77"]
    assert ask("no.such.name.test").rcode == 3
    a = ask("alias." + ZONE)
    assert a.data(CNAME) == ["www.outside.test"] and a.data(A) == ["192.0.2.77"], vars(a)
    a = ask("inside." + ZONE)
    assert a.data(CNAME) == ["plain." + ZONE] and a.data(A) == [plain], vars(a)
    assert ask("nowhere." + ZONE).data(CNAME) == ["no.such.name.test"]

    # What is not a query is dropped or refused, and answers go on.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((SERVER, 53))
        for junk in (b"", b"\0", b"\xff" * 12, b"\0" * 12, struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\xc0\x0c" + b"\0\1\0\1", struct.pack(">6H", 1, 0x8100, 1, 0, 0, 0) + encode("a")):
            s.send(junk)
    kubectl("delete", "service", "plain", "-n", "dnstest")
    eventually("a name outlives its service", lambda: ask("plain." + ZONE).rcode == 3)
    # The Service that pods ask through comes back when somebody deletes it.
    kubectl("delete", "service", "kube-dns", "-n", "kube-system")
    eventually("kube-dns does not come back", lambda: subprocess.run([KUBECTL, "get", "service", "kube-dns", "-n", "kube-system"], capture_output=True).returncode == 0)
    eventually("kube-dns does not answer again", lambda: ask("headless." + ZONE).rcode == 0)
    print("dns ok")
finally:
    subprocess.run([KUBECTL, "delete", "namespace", "dnstest", "--wait=false"], capture_output=True)
