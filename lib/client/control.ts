/** The kit's own events as a client reads them; the contract is in wire/control.ts, which is for servers. */
import type { ClientEvent } from './listeners.js'

/** What a native EventSource must listen to by name. */
export const CONTROL_TYPES = ['open', 'gap', 'reset', 'dropped', 'reconnect', 'expired', 'poll', 'close', 'heartbeat']

/** Each has some of these. */
interface ControlData {
  readonly stream?: string
  readonly heartbeatMs?: number
  readonly window?: number
  readonly reason?: string
  readonly afterMs?: number
  readonly url?: string
}

export function controlData(event: ClientEvent): ControlData {
  try {
    return (event.json() ?? {}) as ControlData
  } catch {
    // Not this kit's server: then there is nothing to know.
    return {}
  }
}
