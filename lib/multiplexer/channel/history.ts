import { type Broker, READ_BYTES } from '../../broker/broker.js'
import type { Clock } from '../../core/clock.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
import { Page } from './page.js'
import { PageStore } from './page-store.js'

/** The maximum number of entries in one read. */
const PAGE_SIZE = 256
const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 2000

/**
 * The reads of one channel from the broker. A read begins at a multiple of a span, so that streams at nearby positions
 * share one read, and its page is kept for some seconds: after a reconnect storm, a thousand streams cost about as many
 * reads as there are pages (bench join). If events are so large that a page ends before its span does, the span is
 * halved, down to one event. A failed read is retried until it succeeds or the channel closes; the streams keep their
 * positions meanwhile.
 */
export class History {
  readonly #broker: Broker
  readonly #channel: string
  readonly #clock: Clock
  readonly #store: PageStore
  /** By the offset that the page begins after. */
  readonly #inFlight = new Map<number, Promise<Page | undefined>>()
  /** A power of two, at most `PAGE_SIZE`. */
  #span = PAGE_SIZE
  /** Incremented by `forget`, so that a page of an earlier read is not kept. */
  #generation = 0
  #closed = false

  /** @param store shared by all channels of the process */
  constructor(broker: Broker, channel: string, clock: Clock, store = new PageStore(clock)) {
    this.#broker = broker
    this.#channel = channel
    this.#clock = clock
    this.#store = store
  }

  /** A kept page of this epoch that covers offset `after`. The page may begin before that offset. */
  kept(after: number, epoch: string): Page | undefined {
    for (let span = PAGE_SIZE; span >= this.#span; span /= 2) {
      const page = this.#store.get(this, startOf(after, span))
      if (page?.head.epoch === epoch && page.covers(after)) return page
    }
    return undefined
  }

  /** Reads the page that covers `after`, or an empty one if no entry follows. `undefined`: the channel has closed. */
  async read(after: number): Promise<Page | undefined> {
    for (;;) {
      const start = startOf(after, this.#span)
      let reading = this.#inFlight.get(start)
      if (reading === undefined) {
        reading = this.#read(start).finally(() => this.#inFlight.delete(start))
        this.#inFlight.set(start, reading)
      }
      const page = await reading
      if (page === undefined || page.end > after || page.end >= page.head.offset || start === after) return page
      // The page ended before the requested offset.
      this.#span = Math.max(1, Math.min(this.#span, spanWithin(page.end - page.after)))
    }
  }

  /** Drops all pages, because the log was replaced. */
  forget(): void {
    this.#generation++
    this.#span = PAGE_SIZE
    this.#store.forget(this)
  }

  close(): void {
    this.#closed = true
    this.forget()
  }

  async #read(start: number): Promise<Page | undefined> {
    const generation = this.#generation
    const page = await retry(
      this.#clock,
      'read',
      () => !this.#closed,
      () => this.#store.reading(() => readPage(this.#broker, this.#channel, start)),
    )
    if (page === undefined || generation !== this.#generation) return page
    this.#store.keep(this, page)
    // The events are small again.
    if (this.#span < PAGE_SIZE && page.bytes < READ_BYTES / 4 && page.end - start >= this.#span) this.#span *= 2
    return page
  }
}

/** The last multiple of the span that is not after the offset. */
function startOf(offset: number, span: number): number {
  return offset - (offset % span)
}

/** The largest power of two that is at most `events`. */
function spanWithin(events: number): number {
  let span = 1
  while (span * 2 <= events) span *= 2
  return span
}

/** Reads one page, and publishes the read to diagnostics. @throws BrokerError */
export async function readPage(broker: Broker, channel: string, after: number): Promise<Page> {
  const page = new Page(after, await broker.read(channel, after, PAGE_SIZE))
  if (diagnostics.channelRead.hasSubscribers) diagnostics.channelRead.publish({ channel, entries: page.length })
  return page
}

/**
 * Repeats a request to the broker until it succeeds or is no longer needed, with growing, jittered pauses. Publishes
 * each failure to diagnostics.
 * @returns `undefined`: the request is no longer needed
 */
export async function retry<T>(
  clock: Clock,
  operation: string,
  isNeeded: () => boolean,
  request: () => Promise<T>,
): Promise<T | undefined> {
  for (let pauseMs = FIRST_PAUSE_MS; isNeeded(); pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
    try {
      return await request()
    } catch (error) {
      reportTo(diagnostics.brokerError, operation, error)
    }
    await new Promise<void>((resolve) => {
      clock.after(pauseMs * (0.5 + Math.random() / 2), resolve)
    })
  }
  return undefined
}
