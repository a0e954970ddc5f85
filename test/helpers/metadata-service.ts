/** An instance metadata service of the test's own: paths and what they answer. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const MAC = '02:00:00:00:00:01';
export const ENI = `/latest/meta-data/network/interfaces/macs/${MAC}`;
const TOKEN = 'AQAEAMtoken==';

/** By path: the body, a status without one, or whatever a function does. */
export type Answers = Record<
  string,
  string | number | ((request: IncomingMessage, response: ServerResponse) => void)
>;

export const WHOLE: Answers = {
  '/latest/meta-data/network/interfaces/macs/': `02:00:00:00:00:77/\n${MAC}/`,
  [`${ENI}/interface-id`]: 'eni-0123456789abcdef0',
  [`${ENI}/local-ipv4s`]: '10.0.0.5\n10.0.0.20',
  [`${ENI}/ipv4-prefix`]: '10.0.0.64/28',
};

export class MetadataService {
  readonly answers: Answers;
  /** "PUT /latest/api/token", in order. */
  readonly asked: string[] = [];
  /** Answers without a token, as IMDSv1 does. */
  open = false;
  endpoint = '';

  constructor(answers: Answers = WHOLE) {
    this.answers = { ...answers };
  }

  async start(teardown: (undo: () => Promise<void>) => void): Promise<this> {
    const server = createServer((request, response) => this.#answer(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    teardown(async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    });
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return this;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request;
    this.asked.push(`${method} ${url}`);
    const answer = this.answers[url];
    if (typeof answer === 'function') {
      answer(request, response);
      return;
    }
    const { status, text } = this.#plain(method, url, headers, answer);
    response.statusCode = status;
    response.end(text);
  }

  #plain(
    method: string,
    url: string,
    headers: IncomingMessage['headers'],
    answer: string | number | undefined,
  ): { status: number; text: string } {
    if (url === '/latest/api/token' && answer === undefined) {
      const asksRightly = method === 'PUT' && headers['x-aws-ec2-metadata-token-ttl-seconds'] === '60';
      return { status: asksRightly ? 200 : 400, text: TOKEN };
    }
    const admitted = headers['x-aws-ec2-metadata-token'] === TOKEN;
    if (!admitted && !this.open) return { status: 401, text: '' };
    if (typeof answer === 'number') return { status: answer, text: '' };
    if (url === '/latest/meta-data/') return { status: 200, text: 'network/\n' };
    if (answer === undefined) return { status: 404, text: '<html>Not Found</html>' };
    return { status: 200, text: answer };
  }
}
