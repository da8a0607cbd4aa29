#!/usr/bin/env python3
"""Runs every differential case against engenho and compares with passing.txt: a case that has passed may not fail again.

  ratchet.py --engenho build/engenho [--update]     --update adds the cases that pass now

The recorded answers come from a build of kube-apiserver with OpenShift's patches; what those add is taken out (see README.md).
"""
import argparse, concurrent.futures, os, re, signal, socket, subprocess, sys, tempfile, time, urllib.request, ssl

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "passing.txt")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(port, process):
    context = ssl._create_unverified_context()
    deadline = time.time() + 30
    while time.time() < deadline:
        if process.poll() is not None:
            sys.exit(f"engenho ended with exit code {process.returncode}")
        try:
            if urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=2).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit("engenho was not ready after 30 s")


def warm_up(port):
    """The tester takes only numbers above 100 for resourceVersions: the fresh store is brought there."""
    context = ssl._create_unverified_context()

    def send(method, path, body=None):
        request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", body, {"Authorization": "Bearer ratchet", "Content-Type": "application/json"}, method=method)
        return urllib.request.urlopen(request, context=context, timeout=10).read()
    for i in range(120):
        send("POST", "/api/v1/namespaces/default/configmaps", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"warm-up"}}')
        send("DELETE", "/api/v1/namespaces/default/configmaps/warm-up")


def run_file(name, port, only=None):
    done = subprocess.run([sys.executable, os.path.join(HERE, "difftest.py"), "compare", "--server", f"https://127.0.0.1:{port}", "--token", "ratchet",
                           os.path.join(HERE, "cases", name), "--golden", os.path.join(HERE, "golden")] + (["--only", only] if only else []), capture_output=True, text=True, timeout=800,
                          env={**os.environ, "DIFFTEST_WAIT": "2"})  # ours needs no polling: what is not there after two seconds will not come
    if not re.search(r"^\d+ passed, \d+ failed$", done.stdout, re.M):
        sys.exit(f"{name}: the tester broke:\n{done.stdout}{done.stderr}")
    return {line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("differs: ")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engenho", required=True)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    import yaml
    files = sorted(os.listdir(os.path.join(HERE, "cases")))
    cases = {}
    for f in files:
        for case in yaml.safe_load(open(os.path.join(HERE, "cases", f))):
            cases[f"{f[:-5]}/{case['name']}"] = f
    known = set(open(LIST).read().split()) if os.path.exists(LIST) else set()
    with tempfile.TemporaryDirectory(prefix="engenho-diff-") as directory:
        tokens = os.path.join(directory, "tokens.csv")
        with open(tokens, "w") as f:
            f.write('ratchet,ratchet,1,"system:masters"\n')
        port = free_port()
        log = open(os.path.join(directory, "log"), "w")
        process = subprocess.Popen([args.engenho, "server", "--data-dir", os.path.join(directory, "data"), "--disable-agent", "--disable",
                                    "controllers,scheduler", "--bind-address", "127.0.0.1", "--https-listen-port", str(port), "--token-auth-file", tokens],
                                   stdout=log, stderr=log)
        try:
            wait_ready(port, process)
            warm_up(port)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                differ = set().union(*pool.map(lambda f: run_file(f, port), files))
            # Files that run side by side can meet in what is cluster-wide: what seems lost gets a second look, alone.
            for case in sorted(known & differ):
                if case in cases and case not in run_file(cases[case], port, only=case.split("/", 1)[1]):
                    differ.discard(case)
            if process.poll() is not None:
                print(open(os.path.join(directory, "log")).read()[-4000:])
                sys.exit(f"engenho died with exit code {process.returncode}")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                sys.exit("engenho did not stop within 20 s")
    passing = set(cases) - differ
    for f in files:
        mine = [c for c in cases if cases[c] == f]
        print(f"{f[:-5]:>12}: {sum(c in passing for c in mine):3} of {len(mine):3}")
    print(f"{'all':>12}: {len(passing):3} of {len(cases):3}")
    lost = sorted(known - passing)
    for c in lost:
        print("no longer passes:", c)
    new = sorted(passing - known)
    if args.update:
        with open(LIST, "w") as f:
            f.write("".join(c + "\n" for c in sorted(known & set(cases) | passing)))
        print(f"{len(new)} cases added")
    elif new:
        print(f"{len(new)} more cases pass than passing.txt has; add them with --update")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
