/**
 * The metrics listener: HTTP, GET /metrics and nothing else. Slow, silent and many clients are cut off; none makes
 * the gateway hold more than one answer for it.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SettingsError, VpcConnError } from '../errors.js';
import { createRepeatFilter, type Logger } from '../log.js';
import type { Metrics } from './metrics.js';

export interface MetricsServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** What messages about the address begin with, "gateway.yaml:31:3: metrics.listen". */
  readonly place: string;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Milliseconds that a client may take for its request, and again for reading the answer; default 5 s. */
  readonly patience?: number;
  /** Connections at once; default 16. */
  readonly maximumClients?: number;
}

export interface MetricsServer {
  readonly port: number;
  /** Ends all connections. Idempotent. */
  close(): Promise<void>;
}

const PATH = '/metrics';
const TEXT = 'text/plain; charset=utf-8';

/** Rejects with SettingsError when it cannot listen there; nothing is left open then. */
export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const { listen, place, metrics, logger, patience = 5000, maximumClients = 16 } = options;
  const complaints = createRepeatFilter({ logger });
  const server = createServer(
    {
      headersTimeout: patience,
      requestTimeout: patience,
      connectionsCheckingInterval: Math.min(1000, patience),
      maxHeaderSize: 8192,
    },
    (request, response) => {
      const late = setTimeout(() => response.destroy(), patience);
      response.once('close', () => clearTimeout(late));
      answer(request, response, metrics).catch((error: unknown) => {
        response.destroy();
        complaints.log('scrape', { err: error }, 'a scrape of the metrics failed');
      });
    },
  );
  server.maxConnections = maximumClients;
  server.on('drop', () => {
    const text = `a client of the metrics was turned away: ${maximumClients} are connected already`;
    complaints.log('drop', {}, text);
  });
  try {
    server.listen({ host: listen.host, port: listen.port });
    await once(server, 'listening');
  } catch (error) {
    throw cannotListen(place, listen, error);
  }
  server.on('error', (error) => logger.error({ err: error }, 'the metrics listener failed'));

  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      closing ??= close(server).finally(() => complaints.close());
      return closing;
    },
  };
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}

async function answer(request: IncomingMessage, response: ServerResponse, metrics: Metrics): Promise<void> {
  const [path] = (request.url ?? '').split('?', 1);
  // What came as a body is nobody's: the connection ends with the answer.
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('connection', 'close');
    response.setHeader('allow', 'GET, HEAD');
    return end(request, response, 405, `Only GET and HEAD are answered, at ${PATH}.\n`);
  }
  if (path !== PATH) return end(request, response, 404, `The metrics of vpc-conn are at ${PATH}.\n`);
  try {
    const text = await metrics.render();
    response.setHeader('content-type', metrics.contentType);
    end(request, response, 200, text);
  } catch (error) {
    if (!(error instanceof VpcConnError)) throw error;
    end(request, response, 503, `${error.message}\n`);
  }
}

function end(request: IncomingMessage, response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  if (!response.hasHeader('content-type')) response.setHeader('content-type', TEXT);
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(request.method === 'HEAD' ? undefined : text);
}

function cannotListen(place: string, { host, port }: MetricsServerOptions['listen'], cause: unknown) {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `another program already listens at ${at}. Stop it, or choose another port`,
    EADDRNOTAVAIL: `${host} is no address of this machine. Write one that it has, 127.0.0.1 for instance`,
    EACCES: `this process may not listen at port ${port}. Choose one above 1023`,
    ENOTFOUND: `the name ${host} is not known. Write an address`,
    EAI_AGAIN: `the name ${host} cannot be looked up. Write an address`,
  };
  const other = `it is not possible to listen at ${at} (${cause instanceof Error ? cause.message : String(cause)}). Choose another address`;
  return new SettingsError('metrics-listen', `${place}: ${reasons[code] ?? other}.`, { cause });
}
