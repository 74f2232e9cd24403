/** What processes on one broker say to each other, beside events. */
import type { Revocation } from '../auth/revocations.js'
import type { Ack } from '../wire/contract.js'
import { parseAck } from './ack.js'

export type Signal =
  /** To the process that has the stream: its client has handled events. */
  | { readonly ack: Ack }
  /** To all: whoever has this stream ends it, because its place was given to another. */
  | { readonly evict: string }
  /** To all: streams of these tokens end. */
  | { readonly revoked: Revocation }

export function printSignal(signal: Signal): string {
  return JSON.stringify(signal)
}

/** @throws Error if it is none: from a process of another version, or not from the kit at all */
export function parseSignal(text: string): Signal {
  const { ack, evict, revoked } = JSON.parse(text) as { readonly [kind: string]: unknown }
  if (ack !== undefined) return { ack: parseAck(ack) }
  if (typeof evict === 'string') return { evict }
  if (typeof revoked === 'object' && revoked !== null) return { revoked: revoked as Revocation }
  throw new Error(`A signal that express-sse-kit did not send: ${text.slice(0, 100)}`)
}
