// Whether something keeps the machine's clock right: the addon's word against the C library's, asked by Python.
import { execFileSync, spawnSync } from 'node:child_process';
import t from 'tap';
import { clockSynchronized } from '../../src/dataplane/native-data-plane.js';

const ASK = `
import ctypes
state = ctypes.create_string_buffer(512)
print(ctypes.CDLL(None).adjtimex(state))
`;
const TIME_ERROR = '5';

const skip = spawnSync('python3', ['--version']).error === undefined ? false : 'python3 is missing';

t.test('clockSynchronized', { skip }, async (t) => {
  const result = execFileSync('python3', ['-c', ASK], { encoding: 'utf8' }).trim();
  t.equal(clockSynchronized(), result !== TIME_ERROR, `adjtimex says ${result}`);
});
