import { readFileSync } from 'node:fs';

const metadata: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** This package's version. */
export const VERSION =
  typeof metadata === 'object' && metadata !== null && 'version' in metadata ? String(metadata.version) : '';
