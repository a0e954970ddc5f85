// Exits 0 when node_modules holds exactly what package-lock.json asks for. npm keeps what it has installed in
// a hidden lock file; packages for other machines are optional and may be absent there.
import { readFileSync } from 'node:fs';

function packages(file) {
  const { '': _root, ...rest } = JSON.parse(readFileSync(file, 'utf8')).packages;
  return rest;
}

try {
  const wanted = packages('package-lock.json');
  const installed = packages('node_modules/.package-lock.json');
  const same = (path) => installed[path]?.version === wanted[path]?.version;
  const complete = Object.keys(wanted).every(
    (path) => same(path) || (wanted[path].optional && installed[path] === undefined),
  );
  process.exitCode = complete && Object.keys(installed).every(same) ? 0 : 1;
} catch {
  process.exitCode = 1;
}
