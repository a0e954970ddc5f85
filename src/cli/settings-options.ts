/** Settings from the command line: a file, or the original tool's flags. Shared by `run` and `check`. */
import { type Command, Option } from 'commander';
import type { InterfaceAddress } from '../config/flags.js';
import type { Settings } from '../config/settings.js';
import { SettingsError } from '../errors.js';

export interface SettingsOptions {
  config?: string;
  outsideInterface?: string;
  tunnelInterface?: string;
  dstAddr?: string;
  srcAddr?: string;
  remoteIpAddrs?: string;
  socket?: string;
}

export interface ChosenSettings {
  settings: Settings;
  /** How flags were read, to be logged. */
  notes: readonly string[];
  /** Reads the settings again; absent in the flag form. */
  reload?: () => Settings;
}

const FLAGS = ['outsideInterface', 'tunnelInterface', 'dstAddr', 'srcAddr', 'remoteIpAddrs'] as const;

export function addSettingsOptions(command: Command): Command {
  const joined = (value: string, before: string | undefined) =>
    before === undefined ? value : `${before},${value}`;
  return command
    .addOption(new Option('-c, --config <file>', 'configuration file (YAML or JSON)').conflicts([...FLAGS]))
    .option('-o, --outside-interface <name>', 'interface towards the hosts of this VPC (overlay)')
    .option('-t, --tunnel-interface <name>', 'interface that carries the tunnel (underlay)')
    .option('-d, --dst-addr <address>', "the far gateway's tunnel address")
    .option('-s, --src-addr <address>', "this gateway's own tunnel address")
    .option(
      '-r, --remote-ip-addrs <list>',
      'far hosts to be proxied here: ADDRESS[,ADDRESS|CIDR...]; without it they are masqueraded',
      joined,
    )
    .option(
      '--socket <path>',
      'control socket to make (default: control.socket, or /run/vpc-conn/NAME.sock)',
    );
}

/** Throws SettingsError. Nothing of the machine is touched; the flag form reads its addresses. */
export async function chooseSettings(options: SettingsOptions): Promise<ChosenSettings> {
  const { config } = options;
  if (config !== undefined) {
    const { loadSettings } = await import('../config/load.js');
    const reload = () => withSocket(loadSettings(config), options.socket);
    return { settings: reload(), notes: [], reload };
  }
  if (FLAGS.every((flag) => options[flag] === undefined)) {
    throw new SettingsError(
      'usage',
      'there is nothing to run. Give a configuration file with -c, or -o, -t, -d and -s; see "vpc-conn --help".',
    );
  }
  const { settingsFromFlags } = await import('../config/flags.js');
  const { settings, notes } = settingsFromFlags(options, await machineAddresses());
  return { settings: withSocket(settings, options.socket), notes };
}

function withSocket(settings: Settings, socket: string | undefined): Settings {
  return socket === undefined ? settings : { ...settings, control: { ...settings.control, socket } };
}

async function machineAddresses(): Promise<InterfaceAddress[]> {
  const { openNetlink } = await import('../net/netlink.js');
  const netlink = openNetlink();
  try {
    const names = new Map(netlink.links().map(({ ifindex, name }) => [ifindex, name]));
    return netlink
      .addresses()
      .map(({ ifindex, address }) => ({ interface: names.get(ifindex) ?? '', address }));
  } finally {
    netlink.close();
  }
}
