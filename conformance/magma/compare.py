#!/usr/bin/env python3
"""Plans and states of `engenho magma` beside those of terraform.

Each directory of cases/ holds steps 1.tf.json, 2.tf.json, ...: every step is planned, the plan is shown as JSON, and applied (a step with
"plan-only" in its name is not). What comes out is normalized (identifiers by order of appearance, times, versions) and compared with
expected/CASE.json, which are terraform's own answers. With --record they are taken anew from a terraform at hand; with --peer both are
run and compared directly.

  compare.py --tool build/components/magma/magma_tool [--tool-command magma] [--record|--peer] [--plugins DIR] [CASE...]

Cases that need a provider executable (a file `needs` names its source) are skipped, clearly, unless --plugins has it.
"""
import argparse, json, os, re, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
CONFIGURATION_KEYS = ('resource_changes', 'resource_drift', 'output_changes', 'planned_values', 'variables', 'applyable', 'errored')


def normalize(document):
    seen = {}

    def name(match):
        return seen.setdefault(match.group(0), 'UUID-%d' % (len(seen) + 1))

    def walk(v):
        if isinstance(v, dict):
            return {k: walk(x) for k, x in sorted(v.items())}
        if isinstance(v, list):
            return [walk(x) for x in v]
        if isinstance(v, str):
            return UUID.sub(name, v)
        if isinstance(v, float) and v == int(v):
            return int(v)
        return v
    return walk(document)


def plan_part(document):
    out = {k: document[k] for k in CONFIGURATION_KEYS if k in document}
    for c in out.get('resource_changes', []) + out.get('resource_drift', []):
        # Terraform says how a deposed object's key came about; it is random.
        if 'deposed' in c:
            c['deposed'] = 'KEY'
    out['resource_changes'] = sorted(out.get('resource_changes', []), key=lambda c: (c['address'], c.get('deposed', '')))
    out['resource_drift'] = sorted(out.get('resource_drift', []), key=lambda c: c['address'])
    root = out.get('planned_values', {}).get('root_module', {})
    if 'resources' in root:
        root['resources'].sort(key=lambda r: r['address'])
    return out


def state_part(document):
    resources = []
    for r in document.get('resources', []):
        for i in r['instances']:
            i.pop('private', None)
            i.pop('identity_schema_version', None)
            if 'deposed' in i:
                i['deposed'] = 'KEY'
            if not i.get('sensitive_attributes'):
                i['sensitive_attributes'] = []
            i['sensitive_attributes'] = sorted(i['sensitive_attributes'], key=json.dumps)
            if 'dependencies' in i:
                i['dependencies'] = sorted(i['dependencies'])
        r.pop('each', None)
        resources.append(r)
    resources.sort(key=lambda r: (r['mode'], r['type'], r['name']))
    return {'version': document['version'], 'outputs': document.get('outputs', {}), 'resources': resources}


class Runner:
    def __init__(self, command, directory, env, peer):
        self.command, self.directory, self.env, self.peer = command, directory, env, peer

    def run(self, *args, ok=True):
        p = subprocess.run(self.command + list(args), cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=300)
        if ok and p.returncode != 0:
            raise RuntimeError('%s %s: %d\n%s%s' % (' '.join(self.command), ' '.join(args), p.returncode, p.stdout[-3000:], p.stderr[-3000:]))
        return p


def answers(runner, case):
    out = []
    steps = sorted(f for f in os.listdir(case) if f.endswith('.tf.json'))
    for step in steps:
        shutil.copy(os.path.join(case, step), os.path.join(runner.directory, 'main.tf.json'))
        flags = []
        flag_file = os.path.join(case, step.replace('.tf.json', '.flags'))
        if os.path.exists(flag_file):
            flags = open(flag_file).read().split()
        if runner.peer and runner.run('init', '-input=false', '-no-color', ok=False).returncode != 0:
            # It checks part of the configuration here already; which provider could not be had is another matter.
            out.append({'step': step, 'planned': False})
            continue
        p = runner.run('plan', '-input=false', '-no-color', '-out=p.plan', *flags, ok=False)
        record = {'step': step, 'planned': p.returncode == 0}
        if p.returncode == 0:
            record['plan'] = normalize(plan_part(json.loads(runner.run('show', '-json', 'p.plan').stdout)))
            if 'plan-only' not in step:
                p = runner.run('apply', '-input=false', '-no-color', 'p.plan', ok=False)
                record['applied'] = p.returncode == 0
                state = os.path.join(runner.directory, 'terraform.tfstate')
                record['state'] = normalize(state_part(json.load(open(state)))) if os.path.exists(state) else None
        out.append(record)
    return out


def cross(tool, peer, case):
    """A state that one wrote is taken up by the other without a change. Only for cases whose first step is applied."""
    problems = []
    first = sorted(f for f in os.listdir(case) if f.endswith('.tf.json'))[0]
    if 'plan-only' in first or os.path.exists(os.path.join(case, 'needs')) or not expected_plan(case, first):
        return problems
    for name, a, b in (('ours read by the peer', tool, peer), ("the peer's read by us", peer, tool)):
        for runner in (a, b):
            for f in os.listdir(runner.directory):
                if f.startswith('terraform.tfstate'):
                    os.unlink(os.path.join(runner.directory, f))
            shutil.copy(os.path.join(case, first), os.path.join(runner.directory, 'main.tf.json'))
            if runner.peer:
                runner.run('init', '-input=false', '-no-color')
        a.run('apply', '-input=false', '-no-color', '-auto-approve')
        shutil.copy(os.path.join(a.directory, 'terraform.tfstate'), b.directory)
        p = b.run('plan', '-input=false', '-no-color', '-detailed-exitcode', ok=False)
        if p.returncode != 0:
            problems.append('state of %s: %d\n%s%s' % (name, p.returncode, p.stdout[-1500:], p.stderr[-1500:]))
    return problems


def expected_plan(case, step):
    recorded = json.load(open(os.path.join(HERE, 'expected', os.path.basename(case) + '.json')))
    return any(r['step'] == step and r['planned'] for r in recorded)


def differences(a, b, path=''):
    if type(a) is not type(b):
        return ['%s: expected %s, got %s' % (path, json.dumps(a)[:200], json.dumps(b)[:200])]
    if isinstance(a, dict):
        out = []
        for k in sorted(set(a) | set(b)):
            if k not in a:
                out.append('%s.%s: unexpected: %s' % (path, k, json.dumps(b[k])[:200]))
            elif k not in b:
                out.append('%s.%s: missing: %s' % (path, k, json.dumps(a[k])[:200]))
            else:
                out += differences(a[k], b[k], path + '.' + k)
        return out
    if isinstance(a, list):
        if len(a) != len(b):
            return ['%s: expected %d elements, got %d: %s / %s' % (path, len(a), len(b), json.dumps(a)[:300], json.dumps(b)[:300])]
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, '%s[%d]' % (path, i))]
    return [] if a == b else ['%s: expected %s, got %s' % (path, json.dumps(a)[:300], json.dumps(b)[:300])]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--tool', required=True)
    p.add_argument('--tool-command', default='')
    p.add_argument('--record', action='store_true')
    p.add_argument('--peer', action='store_true')
    p.add_argument('--terraform', default=shutil.which('terraform') or '')
    p.add_argument('--plugins', default=os.environ.get('MAGMA_PROVIDER_DIR', ''))
    p.add_argument('cases', nargs='*')
    a = p.parse_args()
    tool = [os.path.abspath(a.tool)] + ([a.tool_command] if a.tool_command else [])
    if (a.record or a.peer) and not a.terraform:
        print('SKIPPED: there is no terraform on this machine to compare with')
        return 0
    failed = passed = skipped = 0
    for name in a.cases or sorted(os.listdir(os.path.join(HERE, 'cases'))):
        case = os.path.join(HERE, 'cases', name)
        expected_file = os.path.join(HERE, 'expected', name + '.json')
        needs = os.path.join(case, 'needs')
        if os.path.exists(needs) and not (a.plugins and os.path.isdir(os.path.join(a.plugins, open(needs).read().strip()))):
            print('SKIPPED %s: needs the provider %s, and --plugins does not have it' % (name, open(needs).read().strip()))
            skipped += 1
            continue
        env = {k: v for k, v in os.environ.items() if not k.startswith('TF_')}
        with tempfile.TemporaryDirectory() as scratch:
            expected = None
            if a.record or a.peer:
                rc = os.path.join(scratch, 'rc')
                with open(rc, 'w') as f:
                    f.write('disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' % (a.plugins or scratch))
                os.mkdir(os.path.join(scratch, 'peer'))
                expected = answers(Runner([a.terraform], os.path.join(scratch, 'peer'), dict(env, TF_CLI_CONFIG_FILE=rc), True), case)
                if a.record:
                    os.makedirs(os.path.dirname(expected_file), exist_ok=True)
                    with open(expected_file, 'w') as f:
                        json.dump(expected, f, indent=1, sort_keys=True)
                        f.write('\n')
            else:
                expected = json.load(open(expected_file))
            os.mkdir(os.path.join(scratch, 'ours'))
            ours = answers(Runner(tool, os.path.join(scratch, 'ours'), dict(env, MAGMA_PROVIDER_DIR=a.plugins), False), case)
            crossed = []
            if a.record or a.peer:
                crossed = cross(Runner(tool, os.path.join(scratch, 'ours'), dict(env, MAGMA_PROVIDER_DIR=a.plugins), False),
                                Runner([a.terraform], os.path.join(scratch, 'peer'), dict(env, TF_CLI_CONFIG_FILE=rc), True), case)
        found = crossed + differences(json.loads(json.dumps(expected)), json.loads(json.dumps(ours)))
        if found:
            failed += 1
            print('FAILED %s' % name)
            for d in found[:25]:
                print('   ' + d)
        else:
            passed += 1
            print('passed %s' % name)
    print('%d passed, %d failed, %d skipped' % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
