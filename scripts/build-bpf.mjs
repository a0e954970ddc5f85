// native/bpf/programs.h from native/bpf/*.bpf.c: instructions as arrays, so that no compiler and no ELF loader is
// needed where vpc-conn runs. Needs clang; the result is committed. `--check` compares instead of writing.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { arch, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../native/bpf/', import.meta.url));
const CLANG = process.env.CLANG ?? 'clang-14';
const MAP_DEFINITION_BYTES = 20;

/** Sections, symbols and relocations of a 64-bit little-endian ELF object. */
function readElf(file) {
  const b = readFileSync(file);
  const sectionTable = Number(b.readBigUInt64LE(40));
  const entry = b.readUInt16LE(58);
  const count = b.readUInt16LE(60);
  const names = b.readUInt16LE(62);
  const text = (at) => b.toString('utf8', at, b.indexOf(0, at));
  const sections = Array.from({ length: count }, (_, i) => {
    const at = sectionTable + i * entry;
    return {
      nameAt: b.readUInt32LE(at),
      type: b.readUInt32LE(at + 4),
      offset: Number(b.readBigUInt64LE(at + 24)),
      size: Number(b.readBigUInt64LE(at + 32)),
      link: b.readUInt32LE(at + 40),
      info: b.readUInt32LE(at + 44),
    };
  });
  for (const s of sections) {
    s.name = text(sections[names].offset + s.nameAt);
    s.bytes = b.subarray(s.offset, s.offset + s.size);
  }
  const table = sections.find((s) => s.type === 2);
  const symbols = Array.from({ length: table.size / 24 }, (_, i) => {
    const at = table.offset + i * 24;
    return {
      name: text(sections[table.link].offset + b.readUInt32LE(at)),
      section: b.readUInt16LE(at + 6),
      value: Number(b.readBigUInt64LE(at + 8)),
    };
  });
  const relocations = (index) =>
    sections
      .filter((s) => s.type === 9 && s.info === index)
      .flatMap((s) =>
        Array.from({ length: s.size / 16 }, (_, i) => ({
          at: Number(s.bytes.readBigUInt64LE(i * 16)),
          symbol: symbols[s.bytes.readUInt32LE(i * 16 + 12)],
        })),
      );
  return { sections, symbols, relocations };
}

const camel = (name) => name.replace(/(^|_)(\w)/g, (_, __, c) => c.toUpperCase());

function emit(file) {
  const { sections, symbols, relocations } = readElf(file);
  const maps = sections.findIndex((s) => s.name === 'maps');
  const lines = [];
  for (const symbol of symbols.filter((s) => s.section === maps && s.name !== '')) {
    const d = sections[maps].bytes.subarray(symbol.value, symbol.value + MAP_DEFINITION_BYTES);
    const [type, key, value, entries, flags] = [0, 4, 8, 12, 16].map((at) => d.readUInt32LE(at));
    lines.push(`inline constexpr MapDefinition k${camel(symbol.name)}Map = {${type}, ${key}, ${value}, ${entries}, ${flags}};`);
  }
  for (const [index, section] of sections.entries()) {
    if (section.type !== 1 || !/^(tc|xdp|socket)/.test(section.name)) continue;
    const program = symbols.find((s) => s.section === index && s.name !== '' && !s.name.startsWith('L'));
    const words = Array.from({ length: section.size / 8 }, (_, i) => `0x${section.bytes.readBigUInt64LE(i * 8).toString(16).padStart(16, '0')}`);
    lines.push(`inline constexpr uint64_t k${camel(program.name)}Code[] = {`);
    for (let i = 0; i < words.length; i += 4) lines.push(`    ${words.slice(i, i + 4).join(', ')},`);
    lines.push('};');
    const uses = relocations(index).map((r) => `{${r.at / 8}, "${r.symbol.name}"}`);
    lines.push(`inline constexpr MapUse k${camel(program.name)}Maps[] = {${uses.join(', ')}};`);
  }
  return lines.join('\n');
}

export function programsHeader() {
  const scratch = mkdtempSync(join(tmpdir(), 'vpc-conn-bpf-'));
  try {
    const parts = readdirSync(folder)
      .filter((f) => f.endsWith('.bpf.c'))
      .sort()
      .map((source) => {
        const object = join(scratch, `${basename(source, '.bpf.c')}.o`);
        const include = `/usr/include/${arch() === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
        execFileSync(CLANG, ['-O2', '-Wall', '-Wextra', '-Werror', '-target', 'bpf', '-mcpu=v3', `-I${include}`, '-c', source, '-o', object], { cwd: folder, stdio: 'inherit' });
        return `// ${source}\n${emit(object)}\n`;
      });
    return `// Made by scripts/build-bpf.mjs from native/bpf/*.bpf.c; do not edit.
// clang-format off
#pragma once

#include "bpf/program.h"

namespace vpc_conn::bpf {

${parts.join('\n')}
}  // namespace vpc_conn::bpf
`;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const header = programsHeader();
  const target = join(folder, 'programs.h');
  if (!process.argv.includes('--check')) writeFileSync(target, header);
  else if (readFileSync(target, 'utf8') !== header) {
    console.error('native/bpf/programs.h is not what native/bpf/*.bpf.c makes: run node scripts/build-bpf.mjs');
    process.exit(1);
  }
}
