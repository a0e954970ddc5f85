/** What `vpc-conn neighbors` and `vpc-conn flows` print. */
import type { FlowRow, NeighborRow } from '../control/protocol.js';
import { formatCount, formatDuration } from './format.js';
import { table } from './table.js';

export function renderNeighbors(rows: readonly NeighborRow[]): string {
  if (rows.length === 0) return 'No neighbors yet: they are resolved when traffic needs them.\n';
  const text = table(
    [
      { head: 'scope' },
      { head: 'address' },
      { head: 'next hop' },
      { head: 'state' },
      { head: 'mac' },
      { head: 'age', align: 'right' },
      { head: 'used', align: 'right' },
    ],
    rows.map((row) => [
      row.scope,
      row.address,
      row.nextHop === row.address ? '-' : row.nextHop,
      row.state,
      row.mac ?? '-',
      formatDuration(row.ageSeconds),
      row.usedSecondsAgo === null ? 'never' : `${formatDuration(row.usedSecondsAgo)} ago`,
    ]),
  );
  return `${text}\n`;
}

/** `total`: in use, listed or not. */
export function renderFlows({ flows, total }: { flows: readonly FlowRow[]; total: number }): string {
  if (flows.length === 0) {
    return 'No masqueraded flows. Far hosts with a proxied address need none: nothing is remembered for them.\n';
  }
  const text = table(
    [
      { head: 'protocol' },
      { head: 'peer' },
      { head: 'far host' },
      { head: 'masqueraded as' },
      { head: 'local host' },
      { head: 'state' },
      { head: 'idle', align: 'right' },
    ],
    flows.map((row) => [
      row.protocol,
      row.peer,
      row.far,
      row.masqueradedAs,
      row.near,
      row.state,
      formatDuration(row.idleSeconds),
    ]),
  );
  const more =
    total > flows.length
      ? `\n${formatCount(flows.length)} of ${formatCount(total)} flows; --limit shows more.`
      : '';
  return `${text}${more}\n`;
}
