/**
 * vpc-conn in a program of your own: run a gateway in-process (createGateway), read a configuration file
 * (loadSettings), or talk to a running gateway over its control socket (connect). Errors are VpcConnError.
 */
export { loadSettings } from './config/load.js';
export type { PeerSettings, ProxiedSetting, Settings } from './config/settings.js';
export { type ConnectOptions, type ControlClient, connect } from './control/client.js';
export type {
  FlowRow,
  LatencyResult,
  Method,
  Methods,
  NeighborRow,
  PeerState,
  StatsResult,
  StatusResult,
} from './control/protocol.js';
export { SettingsError, VpcConnError } from './errors.js';
export { createGateway, type Gateway, type GatewayEvents, type GatewayOptions } from './gateway/gateway.js';
export { createLogger, type Logger, type LogSettings } from './log.js';
