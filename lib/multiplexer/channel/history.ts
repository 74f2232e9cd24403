import { type Broker, READ_BYTES } from '../../broker/broker.js'
import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { Page } from './page.js'
import { PageStore } from './page-store.js'
import { retry } from './retry.js'

/** Entries in one read, at most. */
const PAGE_SIZE = 256

/**
 * A channel's reads from the broker. Reads begin at multiples of a span, so that streams that are near each other share one read,
 * and what was read is kept for some seconds: after a reconnect storm a thousand streams cost about as many reads as there
 * are pages (`npm run bench -- join`). Where events are so large that a page ends before a span does, the span is halved, down to
 * one event. A read that fails is tried again until it succeeds or the channel closes; the streams stay where they are meanwhile.
 */
export class History {
  readonly #broker: Broker
  readonly #channel: string
  readonly #clock: Clock
  readonly #store: PageStore
  /** By the offset that they begin after. */
  readonly #inFlight = new Map<number, Promise<Page | undefined>>()
  /** A power of two, at most `PAGE_SIZE`. */
  #span = PAGE_SIZE
  /** Counts `forget`, so that what was read before it is not kept after it. */
  #generation = 0
  #closed = false

  /** @param store shared by all channels of a process */
  constructor(broker: Broker, channel: string, clock: Clock, store = new PageStore(clock)) {
    this.#broker = broker
    this.#channel = channel
    this.#clock = clock
    this.#store = store
  }

  /** The page of this life of the log that says what comes after offset `after`, if it is kept. It may begin before that. */
  kept(after: number, epoch: string): Page | undefined {
    for (let span = PAGE_SIZE; span >= this.#span; span /= 2) {
      const page = this.#store.get(this, startOf(after, span))
      if (page?.head.epoch === epoch && page.covers(after)) return page
    }
    return undefined
  }

  /** Reads that page. It covers `after`, unless there is nothing after that. `undefined` once closed. */
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
      // The page stopped short of the offset that was asked for.
      this.#span = Math.max(1, Math.min(this.#span, spanWithin(page.end - page.after)))
    }
  }

  /** What was read no longer counts: the log is another one. */
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
    // Events have become small again.
    if (this.#span < PAGE_SIZE && page.bytes < READ_BYTES / 4 && page.end - start >= this.#span) this.#span *= 2
    return page
  }
}

/** The multiple of the span at or before an offset. */
function startOf(offset: number, span: number): number {
  return offset - (offset % span)
}

/** The largest power of two that is no larger. */
function spanWithin(events: number): number {
  let span = 1
  while (span * 2 <= events) span *= 2
  return span
}

/** Reads one page, and publishes to diagnostics that it was read. */
export async function readPage(broker: Broker, channel: string, after: number): Promise<Page> {
  const page = new Page(after, await broker.read(channel, after, PAGE_SIZE))
  if (diagnostics.channelRead.hasSubscribers) diagnostics.channelRead.publish({ channel, entries: page.length })
  return page
}
