// docs/metrics.md from src/metrics/catalogue.ts, as it is built in dist/: run after changing the list.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function metricsPage({ METRICS, PREFIX }) {
  const row = ({ name, type, labels, help }) => `| ${PREFIX}${name} | ${type} | ${labels.join(', ')} | ${help} |`;
  return `# Metrics

With \`metrics: { listen: 127.0.0.1:9797 }\` in its file a gateway answers \`GET /metrics\` in the text format of
Prometheus. Without that key nothing listens. A scrape reads what the workers have counted anyway: it costs them
nothing. While the gateway starts, the answer is 503.

The listener is not encrypted and asks nobody who he is. Keep it on 127.0.0.1 or on a management network. 16 clients are
served at once; one that sends no request, or does not read its answer, is cut off after 5 seconds. A port that is taken
ends the start with exit code 2.

[examples/monitoring](../examples/monitoring) has what goes with it: a scrape job and alert rules for Prometheus, and a
dashboard for Grafana (import grafana-dashboard.json).

Values of counters start at 0 with the gateway; \`rate()\` takes care of that. \`worker\` is the worker's number, or
\`none\` for what no worker counted: frames of the control plane, and those that the kernel carried alone.
\`direction\` is \`encap\` (overlay to underlay), \`decap\` (underlay to overlay) or \`slow-path\`. The reasons of
dropped frames are explained in [drop-reasons.md](drop-reasons.md).

This page is made from src/metrics/catalogue.ts.

| metric | type | labels | meaning |
|---|---|---|---|
${METRICS.map(row).join('\n')}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const catalogue = await import('../dist/metrics/catalogue.js');
  writeFileSync(fileURLToPath(new URL('../docs/metrics.md', import.meta.url)), metricsPage(catalogue));
}
