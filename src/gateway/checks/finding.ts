/** What `check` finds. */
export interface Finding {
  readonly severity: 'error' | 'warning' | 'info';
  /** Stable. */
  readonly code: string;
  readonly message: string;
  /** What to do; empty when the message already ends with it, or nothing has to be done. */
  readonly remedy: string;
  /** Key path in the settings, "peers[0].address"; absent when it is about the machine. */
  readonly key?: string;
}

export function info(code: string, message: string, remedy = ''): Finding {
  return { severity: 'info', code, message, remedy };
}

export function warning(code: string, message: string, remedy: string, key?: string): Finding {
  return { severity: 'warning', code, message, remedy, ...(key !== undefined && { key }) };
}
