/** A gateway as its own process inside a lab: `vpc-conn run`, with its own socket, ready before it is used. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VpcConnError } from '../errors.js';
import type { ExecResult, LabProcess } from './command.js';
import type { Lab } from './lab.js';

/** Either the flags of `vpc-conn run`, or the contents of its configuration file. */
export type GatewayStart = (
  | { args: readonly string[]; config?: never }
  | { config: Readonly<Record<string, unknown>>; args?: never }
) & {
  /** Default 60 s. */
  timeoutMs?: number;
  env?: NodeJS.ProcessEnv;
};

export interface LogLine {
  level?: number | string;
  msg?: string;
  [field: string]: unknown;
}

/** The compiled program: beside this file in dist/, or built from the checkout whose src/ this file is in. */
export function compiled(path: string): string {
  const beside = fileURLToPath(new URL(`../${path}`, import.meta.url));
  const file = existsSync(beside) ? beside : fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));
  if (existsSync(file)) return file;
  throw new VpcConnError('lab-not-built', `${file} does not exist. Run "npm run build" first.`);
}

export class GatewayProcess {
  readonly name: string;
  /** Path of its control socket. */
  readonly socket: string;
  /** Path of its configuration file, if it was started with one. */
  readonly configFile: string | undefined;
  readonly process: LabProcess;
  private readonly lab: Lab;

  constructor(lab: Lab, name: string, process: LabProcess, socket: string, configFile: string | undefined) {
    this.lab = lab;
    this.name = name;
    this.process = process;
    this.socket = socket;
    this.configFile = configFile;
  }

  /** What it has logged so far; a line that is no JSON becomes { msg }. */
  log(): LogLine[] {
    return this.process.stderr.split('\n').filter(Boolean).map(parseLine);
  }

  /** Runs a client command of vpc-conn against this gateway: client('status', '--json'). */
  client(command: string, ...args: string[]): Promise<ExecResult> {
    const main = compiled('cli/main.js');
    return this.lab.exec(this.name, [process.execPath, main, command, '--socket', this.socket, ...args]);
  }

  /** Replaces the configuration file (not the running settings: `client('reload')` or SIGHUP does that). */
  writeConfig(config: Readonly<Record<string, unknown>>): void {
    if (this.configFile === undefined) throw new VpcConnError('lab-no-file', 'This gateway runs on flags.');
    writeConfig(this.configFile, config, this.socket);
  }

  /** SIGTERM; resolves with the exit code, null if it had to be killed after `timeoutMs`. */
  async stop(timeoutMs = 30_000): Promise<number | null> {
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), timeoutMs);
    const { code } = await this.process.exited;
    clearTimeout(timer);
    return code;
  }

  /** SIGKILL: nothing of its own clean-up runs. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.process.exited;
  }
}

let started = 0;

export async function startGatewayProcess(
  lab: Lab,
  name: string,
  start: GatewayStart,
): Promise<GatewayProcess> {
  const main = compiled('cli/main.js');
  started += 1;
  const socket = join(lab.directory, `${name}-${started}.sock`);
  let configFile: string | undefined;
  let args: readonly string[];
  if (start.config === undefined) {
    args = ['run', ...start.args, '--socket', socket];
  } else {
    configFile = join(lab.directory, `${name}-${started}.yaml`);
    writeConfig(configFile, start.config, socket);
    args = ['run', '-c', configFile];
  }
  const child = lab.spawn(name, [process.execPath, main, ...args], start.env ?? process.env);
  const gateway = new GatewayProcess(lab, name, child, socket, configFile);
  const ready = ({ stderr }: LabProcess) =>
    stderr.includes('ready') && gateway.log().some(({ msg }) => msg === 'ready');
  await child.until(ready, 'the gateway being ready', start.timeoutMs ?? 60_000);
  return gateway;
}

/** JSON is YAML. */
function writeConfig(file: string, config: Readonly<Record<string, unknown>>, socket: string): void {
  const control = { ...(config.control as Record<string, unknown> | undefined), socket };
  writeFileSync(file, `${JSON.stringify({ ...config, control }, null, 2)}\n`);
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { msg: line };
  }
}
