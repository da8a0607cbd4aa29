#!/usr/bin/env python3
"""build.py DIR [HEALTH_SERVER]: builds the images of the examples and tests from Debian's busybox-static into DIR as docker archives, reproducibly:

  localhost/engenho/busybox:1    a shell and the usual tools
  localhost/engenho/web:1        an HTTP server for /www on port 80 (busybox httpd)
  localhost/engenho/health:1     the program HEALTH_SERVER, when it is given, with the libraries that it needs, on port 9000
"""
import hashlib, io, json, os, re, subprocess, sys, tarfile

EPOCH = 1_700_000_000


def member(tar, name, data=None, mode=0o755, link=None):
    info = tarfile.TarInfo(name)
    info.mtime, info.mode, info.uname, info.gname = EPOCH, mode, "root", "root"
    if link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, link
        tar.addfile(info)
    elif data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def root_file_system(busybox, extra, programs=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for directory in ("bin", "etc", "root", "sbin", "usr", "usr/bin", "usr/sbin", "var", "www"):
            member(tar, directory)
        member(tar, "tmp", mode=0o1777)
        with open(busybox, "rb") as f:
            member(tar, "bin/busybox", f.read())
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for name in sorted(set(applets) - {"busybox"}):
            member(tar, "bin/" + name, link="busybox")
        member(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)
        member(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        for name, text in extra.items():
            member(tar, name, text.encode(), 0o644)
        for name, data in (programs or {}).items():
            member(tar, name, data)
    return out.getvalue()


# The program as /bin/NAME and, below the paths where its loader looks for them, the libraries that ldd finds.
def with_libraries(program):
    files = {"bin/" + os.path.basename(program): program}
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
        files[path.lstrip("/")] = path
    out = {}
    for name, path in files.items():
        with open(path, "rb") as f:
            out[name] = f.read()
    return out


def write_image(path, reference, layer, config):
    layer_id = hashlib.sha256(layer).hexdigest()
    document = json.dumps({"architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z", "config": config,
                           "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer_id]},
                           "history": [{"created": "2023-11-14T22:13:20Z"}]}, sort_keys=True).encode()
    config_name = hashlib.sha256(document).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": [layer_id + ".tar"]}]).encode()
    temporary = path + ".tmp"
    with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
        member(tar, layer_id + ".tar", layer, 0o644)
        member(tar, config_name, document, 0o644)
        member(tar, "manifest.json", manifest, 0o644)
    os.replace(temporary, path)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: build.py DIR [HEALTH_SERVER]")
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    busybox = next((p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), None)
    if busybox is None:
        sys.exit("busybox is missing: install the Debian package busybox-static")
    path = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    write_image(os.path.join(directory, "busybox.tar"), "localhost/engenho/busybox:1", root_file_system(busybox, {}), {"Env": path, "Cmd": ["sh"]})
    write_image(os.path.join(directory, "web.tar"), "localhost/engenho/web:1",
                root_file_system(busybox, {"www/index.html": "engenho\n"}),
                {"Env": path, "Cmd": ["busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www"], "ExposedPorts": {"80/tcp": {}}})
    if len(sys.argv) == 3:
        write_image(os.path.join(directory, "health.tar"), "localhost/engenho/health:1", root_file_system(busybox, {}, with_libraries(sys.argv[2])),
                    {"Env": path, "Cmd": [os.path.basename(sys.argv[2]), "9000"], "ExposedPorts": {"9000/tcp": {}}})


if __name__ == "__main__":
    main()
