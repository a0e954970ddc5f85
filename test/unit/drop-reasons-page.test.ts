import { readFileSync } from 'node:fs';
import t from 'tap';

t.test('docs/drop-reasons.md is what the list makes', async (t) => {
  const script = new URL('../../scripts/write-drop-reasons.mjs', import.meta.url).href;
  const { dropReasonsPage } = (await import(script)) as { dropReasonsPage: () => string };
  const page = dropReasonsPage();
  t.ok(page.split('\n').length > 40, 'the list was read');
  t.equal(readFileSync(new URL('../../docs/drop-reasons.md', import.meta.url), 'utf8'), page);
});
