import type { Command } from 'commander';
import { type ControlClient, connect } from '../control/client.js';
import type { Io } from './io.js';

export interface ClientOptions {
  socket?: string;
  json?: boolean;
}

export function addClientOptions(command: Command): Command {
  return command
    .option('--socket <path>', 'control socket of the gateway (default: the only one that runs here)')
    .option('--json', 'print a JSON object');
}

/** Connects, lets `use` talk, and closes whatever happens. */
export async function withClient<T>(
  io: Io,
  { socket }: ClientOptions,
  use: (client: ControlClient) => Promise<T>,
): Promise<T> {
  const client = await connect({ env: io.env, ...(socket === undefined ? {} : { socket }) });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
