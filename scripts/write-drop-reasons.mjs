// docs/drop-reasons.md from native/forward/drop_reason.def: run after changing the list.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));

export function dropReasonsPage() {
  const list = readFileSync(path('native/forward/drop_reason.def'), 'utf8');
  const rows = [...list.matchAll(/^VPC_CONN_DROP\((\w+), "([^"]*)", "([^"]*)"\)$/gm)];
  return `# Why a frame was dropped

Every frame that a gateway takes ends as forwarded, punted (ARP) or held for a moment, or is counted under exactly one
of these reasons. \`vpc-conn stats\` shows the ones that are not zero. Made from native/forward/drop_reason.def.

| reason | the frame | what to do |
|---|---|---|
${rows.map(([, name, meaning, remedy]) => `| ${name} | ${meaning} | ${remedy} |`).join('\n')}

Frames for the gateway's own address (its SSH, its DNS) are left to the kernel before they reach the gateway and are not
counted, unless they are for a masquerade port. \`ring_lost\` in \`stats\` counts frames that the kernel dropped because
the gateway was too slow.
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(path('docs/drop-reasons.md'), dropReasonsPage());
