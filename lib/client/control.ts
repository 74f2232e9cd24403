/** How a client reads the control events of the kit. wire/contract.ts has their types. */
import type { ControlEvents, OpenData, PollData } from '../wire/contract.js'
import type { ClientEvent } from './listeners.js'

/** A record, so that the compiler finds a missing name. */
const CONTROL_EVENTS: Readonly<Record<keyof ControlEvents, 1>> = {
  'sse.open': 1,
  'sse.gap': 1,
  'sse.reset': 1,
  'sse.dropped': 1,
  'sse.reconnect': 1,
  'sse.expired': 1,
  'sse.poll': 1,
  'sse.close': 1,
  'sse.heartbeat': 1,
}

/** The names for which a native EventSource needs listeners. */
export const CONTROL_NAMES = Object.keys(CONTROL_EVENTS)

/**
 * The fields that the client reads, of all control events. Any can be absent: the server may be another version or
 * product.
 */
type ControlData = Partial<OpenData & PollData>

export function controlData(event: ClientEvent): ControlData {
  try {
    return (event.json() ?? {}) as ControlData
  } catch {
    // Not JSON, so not from this kit.
    return {}
  }
}
