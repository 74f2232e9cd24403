/**
 * The messages that processes on one broker send each other, besides events: acknowledgements, evictions, revocations.
 * Owns their format. A lost signal does no harm: each process also finds out by itself in time, and clients repeat
 * acknowledgements.
 */
import type { Revocation } from '../auth/revocations.js'
import type { Broker } from '../broker/broker.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import type { Ack } from '../wire/contract.js'
import { parseAck } from './ack.js'

/** What a process does when it receives a signal. */
export interface SignalHandlers {
  /** The client of a stream in this process has handled events. */
  readonly onAck: (ack: Ack) => unknown
  /** A stream has lost its place to another. The process that has the stream closes it. */
  readonly onEvict: (stream: string) => unknown
  /** Streams and polls with these tokens end. */
  readonly onRevoke: (revocation: Revocation) => unknown
}

type Signal = { readonly ack: Ack } | { readonly evict: string } | { readonly revoked: Revocation }

export class Signals {
  readonly #broker: Broker
  readonly #handlers: SignalHandlers
  #listening = false

  constructor(broker: Broker, handlers: SignalHandlers) {
    this.#broker = broker
    this.#handlers = handlers
  }

  /** Begins to receive signals. Idempotent. Not called in a process that only publishes: it needs no subscription. */
  listen(): void {
    if (this.#listening) return
    this.#listening = true
    this.#broker.onSignal((text) => this.#onSignal(text))
  }

  /** Sends an acknowledgement to the process that has the stream. @returns whether that process exists */
  async sendAck(processId: string, ack: Ack): Promise<boolean> {
    return (await this.#broker.signal(processId, print({ ack }))) > 0
  }

  broadcastEvict(evict: string): void {
    this.#broadcast({ evict })
  }

  broadcastRevoke(revoked: Revocation): void {
    this.#broadcast({ revoked })
  }

  #broadcast(signal: Signal): void {
    this.#broker.signal(undefined, print(signal)).catch(reportSignalError)
  }

  #onSignal(text: string): void {
    try {
      const signal = parse(text)
      if ('ack' in signal) this.#handlers.onAck(signal.ack)
      else if ('evict' in signal) this.#handlers.onEvict(signal.evict)
      else this.#handlers.onRevoke(signal.revoked)
    } catch (error) {
      reportSignalError(error)
    }
  }
}

function print(signal: Signal): string {
  return JSON.stringify(signal)
}

/** @throws Error for a signal of another version, or of another program */
function parse(text: string): Signal {
  const { ack, evict, revoked } = JSON.parse(text) as { readonly [kind: string]: unknown }
  if (ack !== undefined) return { ack: parseAck(ack) }
  if (typeof evict === 'string') return { evict }
  if (typeof revoked === 'object' && revoked !== null) return { revoked: revoked as Revocation }
  throw new Error(`Received a signal that this version of express-sse-kit does not know: ${text.slice(0, 100)}`)
}

function reportSignalError(error: unknown): void {
  reportTo(diagnostics.brokerError, 'signal', error)
}
