/** Publishes events at a chosen rate, in bursts. Owns its timer and the numbers of the events. */
import type { Multiplexer } from 'express-sse-kit'
import { feedEvent } from './feed.js'
import { DEFAULT_PRODUCER, type ProducerSettings } from './settings.js'

const TICK_MS = 20
/** The time before the first burst, in which clients that were added together with the producer connect. */
const FIRST_MS = 250
/** After a delay of the process, events of at most this time are published later. */
const MAX_CATCH_UP_MS = 500

export class Producer {
  readonly #multiplexer: Multiplexer
  readonly #channel: string
  #settings = DEFAULT_PRODUCER
  #timer: ReturnType<typeof setInterval> | undefined
  #lastTick = 0
  #dueEvents = 0
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
      this.#dueEvents = settings.burst - (settings.eventsPerSecond * FIRST_MS) / 1000
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
    this.#dueEvents += (Math.min(now - this.#lastTick, MAX_CATCH_UP_MS) * eventsPerSecond) / 1000
    this.#lastTick = now
    for (; this.#dueEvents >= burst; this.#dueEvents -= burst) {
      for (let i = 0; i < burst; i++) {
        this.#multiplexer.offer(this.#channel, feedEvent(++this.#published, eventBytes))
      }
    }
  }
}
