import type { Broker, Clock, HistoryPage } from '../core/ports.js'
import { retry } from './retry.js'

/** Entries in one read. */
export const PAGE_SIZE = 256

/**
 * A channel's reads from the broker. Offsets are read in fixed pages, and streams that need the same page at the same
 * time share one read: after a reconnect storm a thousand streams cost as many reads as there are pages. A read that
 * fails is tried again until it succeeds or the channel closes; the streams stay where they are meanwhile.
 */
export class History {
  readonly #broker: Broker
  readonly #channel: string
  readonly #clock: Clock
  readonly #inFlight = new Map<number, Promise<HistoryPage | undefined>>()
  #closed = false

  constructor(broker: Broker, channel: string, clock: Clock) {
    this.#broker = broker
    this.#channel = channel
    this.#clock = clock
  }

  /** The page that holds what comes after offset `after`; it may begin before that. `undefined` once closed. */
  page(after: number): Promise<HistoryPage | undefined> {
    const number = Math.floor(after / PAGE_SIZE)
    let reading = this.#inFlight.get(number)
    if (reading === undefined) {
      reading = this.#read(number * PAGE_SIZE).finally(() => this.#inFlight.delete(number))
      this.#inFlight.set(number, reading)
    }
    return reading
  }

  close(): void {
    this.#closed = true
  }

  #read(after: number): Promise<HistoryPage | undefined> {
    return retry(
      this.#clock,
      'read',
      () => !this.#closed,
      () => this.#broker.read(this.#channel, after, PAGE_SIZE),
    )
  }
}
