/**
 * One simulated client: a real HTTP connection over loopback to this server. It reads at a chosen speed and otherwise
 * behaves like a correct client. Owns its connection, its cursor and its tally.
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

/** How long it waits if the server has sent no time. */
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
  /** How often it was moved to polling, has polled, and has returned to a stream. */
  moved = 0
  polls = 0
  returned = 0
  /** The age of the last event when it was handled, in ms. */
  latencyMs: number | null = null
  /** Why the last stream ended or was refused. */
  reason: string | null = null
  readonly #base: URL
  #phase: ClientPhase = 'connecting'
  #cursor = ''
  /** Where it may poll, from the last `sse.poll`. */
  #pollUrl: URL | undefined
  #polling = false
  /** It was moved to polling and has had no stream since. */
  #away = false
  #next = BROKEN
  #step = new AbortController()
  #streamId = ''
  /** The events handled since the last acknowledgement. */
  #handled = 0
  #buffer = 0
  #acking = false
  #closed = false
  readonly #ended: Promise<void>

  /** @param base the URL of the workbench's endpoints, with a slash at its end */
  constructor(id: string, base: URL, settings: ClientSettings) {
    this.id = id
    this.#base = base
    this.settings = settings
    this.#ended = this.#run()
  }

  get phase(): ClientPhase {
    return this.#phase
  }

  /** Reopens its stream at its position. */
  reopen(): void {
    if (this.#phase === 'stream' || this.#phase === 'connecting') this.#step.abort()
  }

  /** Resolves when its connection is closed. Idempotent. */
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
        // Aborted or broken. The last `sse.poll` or `sse.reconnect` remains valid.
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
      // It polls instead, if it has a URL for polling.
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
    const control = event.startsWith('sse.') ? (JSON.parse(data) as Readonly<Record<string, unknown>>) : {}
    if (event === 'sse.open') {
      this.#streamId = String(control.stream)
      this.#handled = 0
    } else if (event === 'sse.poll') {
      this.#pollUrl = new URL(String(control.url), this.#url('feed'))
      this.#next = { afterMs: Number(control.afterMs), reason: String(control.reason) }
      this.#polling = true
      this.#away = true
      this.moved++
    } else if (event === 'sse.reconnect' && !this.#polling) {
      this.#next = { afterMs: Number(control.afterMs), reason: String(control.reason) }
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

  /** Acknowledges after half of the window, so that the server never waits for a fast client. One request at a time. */
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
      // The stream has ended in the meantime.
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

/** Sends a request on a new connection. */
function send(url: URL, { method = 'GET', headers = {}, body, signal }: Sending): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, headers, signal, agent: false }, resolve)
    req.on('error', reject)
    req.end(body)
  })
}
