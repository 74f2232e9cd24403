/** Publishes continuously through the processes under test, and records each publication and its outcome. */
import type { History, Position, PublishedEvent } from '../proof/checker/history.js'
import { publishRecorded } from '../proof/checker/publish.js'
import type { Random } from '../proof/random.js'
import type { App } from './apps.js'
import { sleep } from './topology.js'

/** Longer than a process may take, with the kit's default time limits. */
const ANSWER_MS = 20_000

/** The interval of the publications of a steady rate, in ms. */
const STEP_MS = 40

export class Publishers {
  readonly #history: History
  readonly #random: Random
  readonly #seed: number
  #count = 0
  #stopped = false

  constructor(history: History, random: Random, seed: number) {
    this.#history = history
    this.#random = random
    this.#seed = seed
  }

  /** Publishes on a channel through a process, until stopped. */
  async run(app: App, channel: string): Promise<void> {
    const random = this.#random
    while (!this.#stopped) {
      const calls = random.chance(0.1) ? 10 : 1
      await Promise.all(
        Array.from({ length: calls }, () =>
          this.#publish(app, channel, 1 + (random.chance(0.2) ? random.below(8) : 0)),
        ),
      )
      await sleep(random.below(60))
    }
  }

  /** Publishes at this rate, in steps of several events, until stopped. */
  async steady(app: App, channel: string, perSecond: number): Promise<void> {
    const pending = new Set<Promise<void>>()
    const beganAt = performance.now()
    for (let published = 0; !this.#stopped; await sleep(STEP_MS)) {
      const due = Math.floor(((performance.now() - beganAt) * perSecond) / 1000) - published
      if (due < 1) continue
      published += due
      const call = this.#publish(app, channel, due)
      pending.add(call)
      void call.finally(() => pending.delete(call))
    }
    await Promise.all(pending)
  }

  stop(): void {
    this.#stopped = true
  }

  /** @returns a token that is in the log */
  async publishSurely(app: App, channel: string, withinMs: number): Promise<string> {
    const deadline = Date.now() + withinMs
    while (Date.now() < deadline) {
      const event = this.#event(app, channel)
      if ((await this.#call(app, channel, [event], undefined)).length > 0) return event.token
      await sleep(100)
    }
    this.#history.violate(`process ${app.number} could not publish on ${channel} within ${withinMs} ms`)
    return ''
  }

  async #publish(app: App, channel: string, count: number): Promise<void> {
    const events = Array.from({ length: count }, () => this.#event(app, channel))
    await this.#call(app, channel, events, this.#random.chance(0.3) ? events[0]?.token : undefined)
  }

  #event(app: App, channel: string): PublishedEvent {
    const token = `${this.#seed}/${channel}${app.number}/${++this.#count}`
    const pad = 'x'.repeat(this.#random.chance(0.1) ? this.#random.below(20_000) : this.#random.below(100))
    return { token, event: 'n', data: JSON.stringify({ c: channel, t: token, pad }) }
  }

  #call(
    app: App,
    channel: string,
    events: readonly PublishedEvent[],
    key: string | undefined,
  ): Promise<readonly Position[]> {
    const messages = events.map(({ event, data }) => ({ event, data }))
    const body = JSON.stringify({ channel, events: messages, ...(key !== undefined && { key }) })
    const headers = { 'content-type': 'application/json' }
    const attempt = async (): Promise<readonly Position[]> => {
      const signal = AbortSignal.timeout(ANSWER_MS)
      const response = await fetch(`${app.url}/publish`, { method: 'POST', headers, body, signal }).catch((error) => {
        if (!signal.aborted) throw error
        const text = `process ${app.number} did not answer a publication on ${channel} within ${ANSWER_MS} ms`
        this.#history.violate(text)
        throw Object.assign(new Error(text), { code: 'ERR_SSE_BROKER_TIMEOUT' })
      })
      const { positions, code, message } = (await response.json()) as {
        readonly positions?: readonly Position[]
        readonly code?: string
        readonly message?: string
      }
      if (positions === undefined) throw Object.assign(new Error(message), { code })
      return positions
    }
    // Concurrent requests may overtake one another.
    const publication = { by: `process ${app.number}`, channel, events, idempotencyKey: key, unordered: true }
    return publishRecorded(this.#history, publication, attempt, () => sleep(200))
  }
}
