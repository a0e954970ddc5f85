import { EventEmitter } from 'node:events';
import t, { type Test } from 'tap';
import type { Io } from '../../src/cli/io.js';
import { isAscii, isScreen, openScreen } from '../../src/cli/live.js';

/** A terminal that remembers what was written to it. */
function terminal(t: Test) {
  const events = new EventEmitter();
  const keyboard = new EventEmitter();
  const signals = new EventEmitter();
  const written: string[] = [];
  const raw: boolean[] = [];
  const stdout = Object.assign(events, {
    isTTY: true,
    columns: 80,
    rows: 24,
    writableNeedDrain: false,
    write: (text: string) => written.push(text),
  });
  const stdin = Object.assign(keyboard, {
    isTTY: true,
    setRawMode: (on: boolean) => raw.push(on),
    resume: () => undefined,
    pause: () => undefined,
  });
  const io: Io = { stdout, stderr: stdout, stdin, env: { TERM: 'xterm' }, signals, exit: () => undefined };
  let quits = 0;
  let redraws = 0;
  const screen = openScreen(io, {
    quit: () => {
      quits += 1;
    },
    resized: () => {
      redraws += 1;
    },
  });
  t.teardown(() => screen.close());
  return { io, screen, stdout, stdin, signals, written, raw, quits: () => quits, redraws: () => redraws };
}

t.test('only changed lines are written, in one piece', async (t) => {
  const { screen, written } = terminal(t);
  t.same(written.splice(0), ['\x1b[?1049h\x1b[?25l'], 'another screen, without a cursor');
  screen.draw(['one', 'two', 'three']);
  t.same(written.splice(0), [
    '\x1b[?2026h\x1b[1;1Hone\x1b[K\x1b[2;1Htwo\x1b[K\x1b[3;1Hthree\x1b[K\x1b[?2026l',
  ]);
  screen.draw(['one', 'TWO', 'three']);
  t.same(written.splice(0), ['\x1b[?2026h\x1b[2;1HTWO\x1b[K\x1b[?2026l']);
  screen.draw(['one', 'TWO', 'three']);
  t.same(written.splice(0), [], 'nothing has changed');
  screen.draw(['one']);
  t.same(written.splice(0), ['\x1b[?2026h\x1b[2;1H\x1b[J\x1b[?2026l'], 'lines that are gone are cleared');
});

t.test('a slow connection gets fewer pictures', async (t) => {
  const { screen, stdout, written } = terminal(t);
  stdout.writableNeedDrain = true;
  written.splice(0);
  screen.draw(['one']);
  t.same(written, []);
  stdout.writableNeedDrain = false;
  screen.draw(['two']);
  t.match(written[0], /two/);
});

t.test('another size: all is drawn again', async (t) => {
  const { screen, stdout, written, redraws } = terminal(t);
  screen.draw(['one']);
  written.splice(0);
  Object.assign(stdout, { columns: 100, rows: 40 });
  stdout.emit('resize');
  t.equal(redraws(), 1);
  t.same(screen.size, { columns: 100, rows: 40 });
  screen.draw(['one']);
  t.match(written.join(''), '\x1b[2J');
  t.match(written.at(-1), 'one');
});

t.test('keys, and the terminal as it was', async (t) => {
  const { screen, stdin, stdout, signals, written, raw, quits } = terminal(t);
  stdin.emit('data', 'x');
  t.equal(quits(), 0);
  stdin.emit('data', 'q');
  stdin.emit('data', '\x03');
  t.equal(quits(), 2);
  screen.close();
  screen.close();
  t.equal(written.filter((text) => text === '\x1b[?25h\x1b[?1049l').length, 1);
  t.same(raw, [true, false]);
  t.same([...stdin.eventNames(), ...stdout.eventNames(), ...signals.eventNames()], [], 'no listener is left');
  screen.draw(['late']);
  t.notMatch(written.at(-1), /late/);
});

t.test('a process that ends otherwise leaves the terminal in order', async (t) => {
  const { signals, written } = terminal(t);
  signals.emit('exit', 1);
  t.equal(written.at(-1), '\x1b[?25h\x1b[?1049l');
});

t.test('where pictures can be drawn', async (t) => {
  const stdout = (isTTY: boolean) => ({ isTTY, write: () => undefined });
  t.ok(isScreen({ stdout: stdout(true), env: { TERM: 'xterm' } }));
  t.notOk(isScreen({ stdout: stdout(true), env: { TERM: 'dumb' } }));
  t.notOk(isScreen({ stdout: stdout(true), env: {} }));
  t.notOk(isScreen({ stdout: stdout(false), env: { TERM: 'xterm' } }));
  t.notOk(isAscii({ LANG: 'C.UTF-8' }));
  t.notOk(isAscii({ LC_ALL: 'de_DE.utf8', LANG: 'C' }));
  t.ok(isAscii({ LC_ALL: 'C', LANG: 'C.UTF-8' }));
  t.ok(isAscii({}));
});
