/**
 * One simulated client: a real HTTP connection over loopback to this very server, which reads at a chosen speed and does what a good
 * client does. Owns its connection, its cursor and its count.
 *
 * ```
 *   connecting ─► stream ──sse.poll──► polling ──stream: true──► connecting …
 *        ▲           └─sse.reconnect, 503, broken─► waiting ─┐
 *        └───────────────────────────────────────────────────┘
 * ```
 */
import { type IncomingMessage, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { PollAnswer } from 'express-sse-kit'
import { readFeedEvent } from './feed.js'
import type { ClientSettings } from './settings.js'
import { readSlowly } from './slow-reader.js'
import { Tally } from './tally.js'

export type ClientPhase = 'connecting' | 'stream' | 'polling' | 'waiting'

/** How long it waits where nobody told it. */
const RETRY_MS = 1000

interface Next {
  readonly afterMs: number
  readonly reason: string
}

const BROKEN: Next = { afterMs: RETRY_MS, reason: 'the connection broke' }

export class SimulatedClient {
  readonly id: string
  readonly tally = new Tally()
  settings: ClientSettings
  /** Times it was moved to polling, polls it made, and times it came back to a stream. */
  moved = 0
  polls = 0
  returned = 0
  /** How old the last event was when it was handled, in ms. */
  latencyMs: number | null = null
  /** Why it last left a stream, or could not open one. */
  reason: string | null = null
  readonly #base: URL
  #phase: ClientPhase = 'connecting'
  #cursor = ''
  /** Where it may poll, once it has been told. */
  #pollUrl: URL | undefined
  #polling = false
  /** Moved to polling, and no stream since. */
  #away = false
  #next = BROKEN
  #step = new AbortController()
  #streamId = ''
  /** Since the last acknowledgement. */
  #handled = 0
  #buffer = 0
  #acking = false
  #closed = false
  readonly #ended: Promise<void>

  /** @param base where the workbench's endpoints are, with a slash at its end */
  constructor(id: string, base: URL, settings: ClientSettings) {
    this.id = id
    this.#base = base
    this.settings = settings
    this.#ended = this.#run()
  }

  get phase(): ClientPhase {
    return this.#phase
  }

  /** Opens its stream anew, from where it is. */
  reopen(): void {
    if (this.#phase === 'stream' || this.#phase === 'connecting') this.#step.abort()
  }

  /** Idempotent; resolves when its connection is gone. */
  close(): Promise<void> {
    this.#closed = true
    this.#step.abort()
    return this.#ended
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      this.#step = new AbortController()
      const { signal } = this.#step
      this.#next = BROKEN
      try {
        if (this.#polling && this.#pollUrl !== undefined) await this.#poll(this.#pollUrl, signal)
        else await this.#stream(signal)
      } catch {
        // Aborted, or broken: what the server said before that still counts.
      }
      if (signal.aborted) continue
      this.reason = this.#next.reason
      if (this.#phase !== 'polling' && this.#next.afterMs > 0) this.#phase = 'waiting'
      await pause(this.#next.afterMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    this.#phase = 'connecting'
    const { window } = this.settings
    const url = this.#url('feed')
    if (window !== null) url.searchParams.set('window', String(window))
    const headers: Record<string, string> = this.#cursor === '' ? {} : { 'Last-Event-ID': this.#cursor }
    const response = await send(url, { headers, signal })
    if (response.statusCode !== 200) {
      response.resume()
      const seconds = Number(response.headers['retry-after'])
      this.#next = { afterMs: seconds * 1000 || RETRY_MS, reason: `refused with ${response.statusCode}` }
      // Better than nothing, once it knows where.
      this.#polling = this.#pollUrl !== undefined
      return
    }
    this.#phase = 'stream'
    if (this.#away) this.returned++
    this.#away = false
    const parser = createParser({ onEvent: (event) => this.#onEvent(event) })
    const decoder = new TextDecoder()
    await readSlowly(response, this.#speed, (bytes) => {
      parser.feed(decoder.decode(bytes, { stream: true }))
      this.#buffer = Math.min(1, response.readableLength / response.readableHighWaterMark)
      this.#acknowledge()
    })
  }

  async #poll(url: URL, signal: AbortSignal): Promise<void> {
    this.#phase = 'polling'
    this.polls++
    url.searchParams.set('cursor', this.#cursor)
    const response = await send(url, { signal })
    const body: Buffer[] = []
    await readSlowly(response, this.#speed, (bytes) => body.push(bytes))
    if (response.statusCode !== 200) return
    const { events, cursor, stream, afterMs } = JSON.parse(Buffer.concat(body).toString()) as PollAnswer
    for (const { event, data } of events) this.#handle(event, data)
    this.#cursor = cursor
    this.#next = { afterMs: stream ? 0 : afterMs, reason: this.reason ?? '' }
    this.#polling = !stream
  }

  #onEvent({ event = 'message', data, id }: EventSourceMessage): void {
    if (id !== undefined) this.#cursor = id
    const said = event.startsWith('sse.') ? (JSON.parse(data) as Readonly<Record<string, unknown>>) : {}
    if (event === 'sse.open') {
      this.#streamId = String(said.stream)
      this.#handled = 0
    } else if (event === 'sse.poll') {
      this.#pollUrl = new URL(String(said.url), this.#url('feed'))
      this.#next = { afterMs: Number(said.afterMs), reason: String(said.reason) }
      this.#polling = true
      this.#away = true
      this.moved++
    } else if (event === 'sse.reconnect' && !this.#polling) {
      this.#next = { afterMs: Number(said.afterMs), reason: String(said.reason) }
    } else {
      this.#handle(event, data)
    }
  }

  #handle(event: string, data: string): void {
    if (event !== 'reading') return
    const { number, madeAt } = readFeedEvent(data)
    this.tally.add(number)
    this.latencyMs = Date.now() - madeAt
    this.#handled++
  }

  /** After every half of the window, so that the server need not stop for a client that keeps up. One at a time. */
  #acknowledge(): void {
    const { window } = this.settings
    if (window === null || this.#acking || this.#handled < window / 2) return
    this.#acking = true
    this.#handled = 0
    const body = JSON.stringify({
      stream: this.#streamId,
      cursor: this.#cursor,
      buffer: this.#buffer,
      latencyMs: Math.max(0, this.latencyMs ?? 0),
    })
    send(this.#url('ack'), { method: 'POST', body, signal: this.#step.signal })
      .then((response) => response.resume())
      // The stream has ended meanwhile: there is nothing to acknowledge any more.
      .catch(() => undefined)
      .finally(() => {
        this.#acking = false
        this.#acknowledge()
      })
  }

  readonly #speed = (): number | null => this.settings.readBytesPerSecond

  #url(path: string): URL {
    const url = new URL(path, this.#base)
    url.searchParams.set('client', this.id)
    return url
  }
}

interface Sending {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal: AbortSignal
}

/** Each on a connection of its own. */
function send(url: URL, { method = 'GET', headers = {}, body, signal }: Sending): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, headers, signal, agent: false }, resolve)
    req.on('error', reject)
    req.end(body)
  })
}
