/** The lab: VPCs with the same addresses, gateways and hosts in network namespaces. */

export type { ExecOptions, ExecResult } from './command.js';
export { LabProcess, waitFor } from './command.js';
export type { GatewayStart, LogLine } from './gateway-process.js';
export { GatewayProcess } from './gateway-process.js';
export type { LinkCounters } from './lab.js';
export { createLab, Lab, whyNoLab } from './lab.js';
export type { GatewaySpec, HostSpec, LabSpec, NicSpec, UnderlaySpec, VpcSpec } from './spec.js';
export type {
  IperfResult,
  PingOptions,
  PingResult,
  Route,
  RunningEcho,
  RunningPing,
  RunningTransfer,
  TcpReport,
  UdpReport,
} from './traffic.js';
export { iperf, ping, startPing, startTransfer, startUdpEcho, tcpTransfer, udpEcho } from './traffic.js';
