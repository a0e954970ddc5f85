import type { GoldenCase } from './golden-case.js';
export const FRAGMENT_CASES: readonly GoldenCase[] = [];
