/** What fills the feed: so many events a second, in bursts. Owns its timer and the numbers. */
import type { Multiplexer } from 'express-sse-kit'
import { feedEvent } from './feed.js'
import { DEFAULT_PRODUCER, type ProducerSettings } from './settings.js'

const TICK_MS = 20
/** When the first burst comes: clients that were added with it are connected by then. */
const FIRST_MS = 250
/** A process that could not keep up does not have to make up for it. */
const MAX_OWED_MS = 500

export class Producer {
  readonly #multiplexer: Multiplexer
  readonly #channel: string
  #settings = DEFAULT_PRODUCER
  #timer: ReturnType<typeof setInterval> | undefined
  #lastTick = 0
  #owed = 0
  #published = 0

  constructor(multiplexer: Multiplexer, channel: string) {
    this.#multiplexer = multiplexer
    this.#channel = channel
  }

  get settings(): ProducerSettings {
    return this.#settings
  }

  /** The number of the last event. */
  get published(): number {
    return this.#published
  }

  configure(settings: ProducerSettings): void {
    this.#settings = settings
    if (!settings.running) {
      this.stop()
    } else if (this.#timer === undefined) {
      this.#lastTick = performance.now()
      this.#owed = settings.burst - (settings.eventsPerSecond * FIRST_MS) / 1000
      this.#timer = setInterval(() => this.#tick(), TICK_MS)
    }
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    const { eventsPerSecond, burst, eventBytes } = this.#settings
    const now = performance.now()
    this.#owed += (Math.min(now - this.#lastTick, MAX_OWED_MS) * eventsPerSecond) / 1000
    this.#lastTick = now
    for (; this.#owed >= burst; this.#owed -= burst) {
      for (let i = 0; i < burst; i++) {
        this.#multiplexer.offer(this.#channel, feedEvent(++this.#published, eventBytes))
      }
    }
  }
}
