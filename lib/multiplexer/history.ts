import { diagnostics } from '../core/diagnostics.js'
import type { Broker, Clock, HistoryPage } from '../core/ports.js'
import { Page } from './page.js'
import { retry } from './retry.js'

/** Entries in one read. */
export const PAGE_SIZE = 256
/** How long pages are kept: about as long as a reconnect storm lasts. */
const KEEP_MS = 5000
/** Bytes of one channel's pages kept. */
const KEEP_BYTES = 1_048_576

/**
 * A channel's reads from the broker. Offsets are read in fixed pages, streams that need the same page at the same time
 * share one read, and what was read is kept for some seconds: after a reconnect storm a thousand streams cost about as
 * many reads as there are pages (`npm run bench -- join`). A read that fails is tried again until it succeeds or the
 * channel closes; the streams stay where they are meanwhile.
 */
export class History {
  readonly #broker: Broker
  readonly #channel: string
  readonly #clock: Clock
  readonly #inFlight = new Map<number, Promise<Page | undefined>>()
  /** By page number, oldest read first. */
  readonly #kept = new Map<number, Page>()
  #keptBytes = 0
  /** Counts `forget`, so that what was read before it is not kept after it. */
  #generation = 0
  #closed = false

  constructor(broker: Broker, channel: string, clock: Clock) {
    this.#broker = broker
    this.#channel = channel
    this.#clock = clock
  }

  /** The page of this life of the log that holds what comes after offset `after`, if it is kept. It may begin before that. */
  kept(after: number, epoch: string): Page | undefined {
    const page = this.#kept.get(Math.floor(after / PAGE_SIZE))
    // The log's last page grows: what was read of it may not reach as far as this stream has come.
    return page !== undefined && page.head.epoch === epoch && page.last > after ? page : undefined
  }

  /** Reads that page. `undefined` once closed. */
  read(after: number): Promise<Page | undefined> {
    const number = Math.floor(after / PAGE_SIZE)
    let reading = this.#inFlight.get(number)
    if (reading === undefined) {
      reading = this.#read(number).finally(() => this.#inFlight.delete(number))
      this.#inFlight.set(number, reading)
    }
    return reading
  }

  /** What was read no longer counts: the log is another one. */
  forget(): void {
    this.#generation++
    this.#kept.clear()
    this.#keptBytes = 0
  }

  close(): void {
    this.#closed = true
    this.forget()
  }

  async #read(number: number): Promise<Page | undefined> {
    const generation = this.#generation
    const page = await retry(
      this.#clock,
      'read',
      () => !this.#closed,
      async () => new Page(await readHistory(this.#broker, this.#channel, number * PAGE_SIZE, PAGE_SIZE)),
    )
    if (page !== undefined && generation === this.#generation) this.#keep(number, page)
    return page
  }

  #keep(number: number, page: Page): void {
    this.#drop(number)
    const { bytes } = page
    if (bytes > KEEP_BYTES) return
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes + bytes <= KEEP_BYTES) break
      this.#drop(oldest)
    }
    this.#kept.set(number, page)
    this.#keptBytes += bytes
    this.#clock.after(KEEP_MS, () => {
      if (this.#kept.get(number) === page) this.#drop(number)
    })
  }

  #drop(number: number): void {
    const page = this.#kept.get(number)
    if (page === undefined) return
    this.#kept.delete(number)
    this.#keptBytes -= page.bytes
  }
}

/** `Broker.read`, and says so. */
export async function readHistory(broker: Broker, channel: string, after: number, limit: number): Promise<HistoryPage> {
  const page = await broker.read(channel, after, limit)
  if (diagnostics.channelRead.hasSubscribers) diagnostics.channelRead.publish({ channel, entries: page.entries.length })
  return page
}
