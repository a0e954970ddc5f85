import { readFileSync } from 'node:fs';
import t from 'tap';
import Value from 'typebox/value';
import { parse } from 'yaml';
import { parseSettings } from '../../src/config/load.js';
import { FileSchema, jsonSchema } from '../../src/config/schema.js';
import type { Settings } from '../../src/config/settings.js';
import { refuseRestart } from '../../src/gateway/reload.js';

interface Node {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly additionalProperties?: unknown;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
}

const EXAMPLE = readFileSync(new URL('../../examples/gateway.yaml', import.meta.url), 'utf8');
interface Leaf {
  readonly path: string;
  readonly node: Node;
  /** The key, and every one above it. */
  readonly required: boolean;
}

/** Keys that take a value of their own: not the mappings, but lists and what is in a list's mappings. */
function leaves(
  node: Node,
  above: { path: string; required: boolean } = { path: '', required: true },
): Leaf[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
    const required = above.required && (node.required?.includes(key) ?? false);
    const path = above.path === '' ? key : `${above.path}.${key}`;
    const own = child.properties === undefined ? [{ path, node: child, required }] : [];
    return [...own, ...leaves(child, { path, required }), ...leaves(child.items ?? {}, { path, required })];
  });
}

function everyNode(node: Node): Node[] {
  const children = [
    ...Object.values(node.properties ?? {}),
    ...(node.items ? [node.items] : []),
    ...(node.anyOf ?? []),
  ];
  return [node, ...children.flatMap(everyNode)];
}

const LEAVES = leaves(FileSchema as unknown as Node);

t.test('the schema documents itself and lets nothing unknown pass', async (t) => {
  const schema = JSON.parse(JSON.stringify(jsonSchema())) as Node & { $schema: string };
  t.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  for (const node of everyNode(schema)) {
    if (node.type === 'object') t.equal(node.additionalProperties, false);
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      t.ok(child.title, `${key} has the noun that messages are made with`);
      t.match(child.description, /^[^a-z].*\.$|^auto: /, `${key} has a description`);
    }
  }
  t.ok(LEAVES.length > 20, 'keys were found');
});

/** The example with everything that is commented out put in force: "#key: value", against "# prose". */
const SHOWN = EXAMPLE.replaceAll(/^( *)#(?=[a-z])/gm, '$1');

interface Documented {
  readonly key: string;
  readonly required: boolean;
  readonly default: string | undefined;
  readonly reloadable: string;
}

/** The keys below a line "# default: ...; reloadable: ..." in the example, in its order. */
function documented(): Documented[] {
  const found: Documented[] = [];
  const open: { indent: number; key: string }[] = [];
  let facts: Omit<Documented, 'key'> | undefined;
  for (const line of SHOWN.split('\n')) {
    const fact = /^ *# (required|default: (.*)); reloadable: (yes|no)$/.exec(line);
    const setting = /^( *(?:- )?)([a-z0-9]+):( |$)/.exec(line);
    if (fact) facts = { required: fact[1] === 'required', default: fact[2], reloadable: fact[3] ?? '' };
    if (!setting) continue;
    const indent = (setting[1] ?? '').length;
    while ((open.at(-1)?.indent ?? -1) >= indent) open.pop();
    open.push({ indent, key: setting[2] ?? '' });
    if (facts) found.push({ key: open.map(({ key }) => key).join('.'), ...facts });
    facts = undefined;
  }
  return found;
}

t.test('the example is valid and names the schema', async (t) => {
  t.match(EXAMPLE.split('\n')[0], /^# yaml-language-server: \$schema=\S+vpc-conn\.schema\.json$/);
  const settings = parseSettings(EXAMPLE, 'examples/gateway.yaml');
  t.equal(settings.peers[0]?.proxied.length, 4);
  t.equal(Value.Check(FileSchema, parse(EXAMPLE)), true);
});

t.test('the example documents every key, with default and "reloadable", and no other', async (t) => {
  const keys = documented();
  t.same(keys.map(({ key }) => key).sort(), LEAVES.map(({ path }) => path).sort());
  for (const { path, node, required } of LEAVES) {
    const entry = keys.find(({ key }) => key === path);
    t.equal(entry?.required, required, `${path}: required`);
    if (node.default !== undefined && !Array.isArray(node.default)) {
      t.equal(entry?.default, String(node.default), `${path}: default`);
    }
  }
});

t.test('what the example shows commented out is right, too', async (t) => {
  t.equal(Value.Check(FileSchema, parse(SHOWN)), true);
  const shown = parseSettings(SHOWN.replaceAll(/^ *address6:.*$/gm, ''), 'gateway.yaml');
  const plain = parseSettings(EXAMPLE, 'gateway.yaml');
  for (const section of ['overlay', 'dataplane', 'log'] as const)
    t.same(shown[section], plain[section], 'the default');
  t.match(shown.peers[0], { unlisted: 'drop', keepalive: true, resolve: 'peer' });
  t.same(shown.metrics, { host: '127.0.0.1', port: 9797 });
});

t.test('"reloadable" is what a reload does', async (t) => {
  const before = parseSettings(EXAMPLE, 'examples/gateway.yaml');
  const changes: Record<string, Partial<Settings>> = {
    name: { name: 'other' },
    'overlay.interface': { overlay: { ...before.overlay, interface: 'eth9' } },
    'overlay.address': { overlay: { ...before.overlay, address: '10.0.0.6' } },
    'overlay.address6': { overlay: { ...before.overlay, address6: '2001:db8::6' } },
    'overlay.arp': { overlay: { ...before.overlay, arp: 'silent' } },
    'underlay.interface': { underlay: { ...before.underlay, interface: 'eth9' } },
    'underlay.address': { underlay: { ...before.underlay, address: '198.18.0.9' } },
    'underlay.dscp': { underlay: { ...before.underlay, dscp: 46 } },
    peers: { peers: [] },
    'dataplane.acceleration': { dataplane: { ...before.dataplane, acceleration: 'off' } },
    'dataplane.workers': { dataplane: { ...before.dataplane, workers: 3 } },
    'dataplane.offloads': { dataplane: { ...before.dataplane, offloads: 'leave' } },
    'dataplane.spin': { dataplane: { ...before.dataplane, spin: 7 } },
    'dataplane.icmp': { dataplane: { ...before.dataplane, icmpErrors: 7 } },
    'masquerade.ports': { masquerade: { ...before.masquerade, firstPort: 5000, lastPort: 6000 } },
    'masquerade.addresses': { masquerade: { ...before.masquerade, addresses: ['10.0.0.6'] } },
    'masquerade.flows': { masquerade: { ...before.masquerade, flows: 1000 } },
    'masquerade.state': { masquerade: { ...before.masquerade, state: '/var/lib/other' } },
    'compat.reversed': { compat: { reversed: true } },
    'control.mode': { control: { ...before.control, mode: 0o666 } },
    'control.owner': { control: { ...before.control, owner: 'nobody' } },
    'control.group': { control: { ...before.control, group: 'nogroup' } },
    'control.socket': { control: { socket: '/run/other.sock' } },
    'metrics.listen': { metrics: { host: '127.0.0.1', port: 9797 } },
    'log.level': { log: { ...before.log, level: 'debug' } },
    'log.format': { log: { ...before.log, format: 'json' } },
  };
  for (const { key, reloadable } of documented()) {
    if (key.startsWith('peers.')) continue;
    const change = changes[key];
    t.ok(change, `${key} is tried`);
    const reload = () => refuseRestart(before, { ...before, ...change });
    if (reloadable === 'yes') t.doesNotThrow(reload, key);
    else t.throws(reload, { code: 'restart-needed' }, key);
  }
});
