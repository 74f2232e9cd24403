/**
 * diagnostics ─► **tally** ─► metrics: the counts of this process, as plain numbers. Owns that counting is cheap: each
 * stream counts its own events, and the sum is computed when metrics are collected; the delay of a batch is observed
 * once for all streams that got it. Owns the tables of all label values.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { CLOSE_REASONS, type CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import type { LogEntry } from '../core/message.js'
import { delayOf } from '../core/message.js'
import type { CursorOrigin } from '../http/query.js'
import type { StreamCounts } from '../stream/source.js'
import { Counts, Histogram } from './numbers.js'

const REFUSALS = [
  'ERR_SSE_STREAM_LIMIT',
  'ERR_SSE_OVERLOADED',
  'ERR_SSE_LIMITER_UNAVAILABLE',
  'ERR_SSE_BROKER_UNAVAILABLE',
  'ERR_SSE_BROKER_TIMEOUT',
  'ERR_SSE_BROKER_REFUSED',
  'ERR_SSE_CLOSED',
]
const FAILURES = REFUSALS.slice(3)
const COMMANDS = ['publish', 'broadcast', 'open', 'read', 'signal', 'ping', 'limit', 'lease', 'store']
const PACING_SCOPES = ['stream', 'user', 'tenant', 'ip', 'session', 'global']

const DELAYS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const AGES_S = [1, 10, 60, 300, 900, 1800, 3600, 7200, 21_600]
const RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
/**
 * The maximum latency that is accepted from a client: one wrong number would distort the histogram's sum permanently.
 */
const MAX_LATENCY_MS = 3_600_000

/** The `source` in a message of `diagnostics.streamOpen`. */
type CountedStream = { counts(): StreamCounts }

/** The current values of the open streams, and the totals of all streams. */
export interface Sums {
  streams: number
  lagging: number
  full: number
  lag: number
  maxLag: number
  queued: number
  queuedBytes: number
  saturation: number
  sent: number
  pacedEvents: number
  pacedBytes: number
}

export class Tally {
  readonly opened = new Counts({})
  readonly reconnects = new Counts({ cursor: ['header', 'query'] satisfies CursorOrigin[] })
  readonly closed = new Counts({ reason: Object.keys(CLOSE_REASONS) })
  readonly refused = new Counts({ code: REFUSALS })
  readonly retries = new Counts({ at: ['open', 'close'] })
  readonly ages = new Histogram(AGES_S)
  readonly published = new Counts({})
  readonly publishFailures = new Counts({ code: FAILURES })
  readonly polls = new Counts({})
  readonly live = new Histogram(DELAYS_S)
  readonly replayed = new Histogram(DELAYS_S)
  readonly acknowledged = new Counts({})
  readonly acknowledgementDelays = new Histogram(DELAYS_S)
  readonly clientBuffers = new Histogram(RATIOS)
  readonly clientLatencies = new Histogram(DELAYS_S)
  readonly drops = new Counts({ reason: ['queue_full', 'coalesced', 'expired', 'shed'] })
  readonly losses = new Counts({ reason: ['trimmed', 'log_replaced'] })
  readonly decisions = new Counts({
    source: ['local', 'redis', 'fail-open', 'fail-closed'],
    admitted: ['true', 'false'],
  })
  readonly bucketsEmpty = new Counts({ scope: PACING_SCOPES })
  readonly commands = new Counts({ command: COMMANDS, outcome: ['ok', ...FAILURES] })
  readonly commandTimes = new Histogram(DELAYS_S)
  readonly reads = new Counts({})
  readonly errors = new Counts({ source: ['stream', 'broker', 'store', 'limiter', 'webhook', 'callback'] })
  /** The number of events in poll responses. */
  polled = 0
  readonly #open = new Map<string, CountedStream>()
  /** The totals of the streams that have closed. */
  readonly #closedStreams = { sent: 0, pacedEvents: 0, pacedBytes: 0 }
  #sums: Sums | undefined
  readonly #unsubscribes: (() => void)[] = []

  constructor() {
    this.#onStreams()
    this.#onEvents()
    this.#onServices()
  }

  /** The sums over all streams. Computed once for all metrics that are collected together. */
  sums(): Sums {
    if (this.#sums === undefined) {
      this.#sums = this.#addUp()
      queueMicrotask(() => {
        this.#sums = undefined
      })
    }
    return this.#sums
  }

  /** Stops counting. Idempotent. */
  close(): void {
    for (const stop of this.#unsubscribes.splice(0)) stop()
    this.#open.clear()
  }

  #onStreams(): void {
    this.#on<{ stream: string; cursor?: string; source: CountedStream }>('streamOpen', ({ stream, cursor, source }) => {
      this.#open.set(stream, source)
      this.opened.add([])
      this.retries.add(['open'])
      if (cursor !== undefined) this.reconnects.add([cursor])
    })
    this.#on<{ stream: string; reason: CloseReason; ageMs: number }>('streamClose', ({ stream, reason, ageMs }) => {
      this.closed.add([reason])
      if (sendsRetry(reason, this.#open.has(stream))) this.retries.add(['close'])
      const counts = this.#open.get(stream)?.counts()
      // A HEAD request, or a stream that was refused with a close event, never opened.
      if (counts === undefined) return
      this.#open.delete(stream)
      this.ages.observe(ageMs / 1000)
      for (const name of ['sent', 'pacedEvents', 'pacedBytes'] as const) this.#closedStreams[name] += counts[name]
    })
    this.#on<{ code?: string }>('streamRefused', ({ code }) => this.refused.add([code]))
    this.#on<{ reason: string }>('streamDrop', ({ reason }) => this.drops.add([reason]))
    this.#on<{ scope?: string }>('streamPaced', ({ scope }) => this.bucketsEmpty.add([scope]))
    this.#on('streamError', () => this.errors.add(['stream']))
  }

  #onEvents(): void {
    this.#on<{ events: number; error?: unknown }>('publishEnd', ({ events, error }) => {
      if (error === undefined) this.published.add([], events)
      else this.publishFailures.add([codeOf(error)], events)
    })
    this.#on<{ events: number; error: unknown }>('publishError', ({ events, error }) =>
      this.publishFailures.add([codeOf(error)], events),
    )
    this.#on<{ entries: readonly LogEntry[]; streams: number; now: number }>(
      'channelDeliver',
      ({ entries, streams, now }) => {
        for (const entry of entries) observeMs(this.live, delayOf(entry, now), streams)
      },
    )
    this.#on<{ events: number; delayMs?: number }>('streamReplay', ({ events, delayMs }) =>
      observeMs(this.replayed, delayMs, events),
    )
    this.#on<{ events: number }>('pollAnswer', ({ events }) => {
      this.polls.add([])
      this.polled += events
    })
    this.#on<{ buffer?: number; latencyMs?: number; delayMs?: number }>(
      'streamAck',
      ({ buffer, latencyMs, delayMs }) => {
        this.acknowledged.add([])
        observeMs(this.acknowledgementDelays, delayMs)
        if (buffer !== undefined) this.clientBuffers.observe(buffer)
        observeMs(this.clientLatencies, latencyMs && Math.min(latencyMs, MAX_LATENCY_MS))
      },
    )
    this.#on<{ reason: string }>('channelLoss', ({ reason }) => this.losses.add([reason]))
    this.#on('channelRead', () => this.reads.add([]))
  }

  #onServices(): void {
    this.#on<{ admitted: boolean; source: string }>('limiterDecision', ({ admitted, source }) =>
      this.decisions.add([source, admitted ? 'true' : 'false']),
    )
    for (const name of ['brokerCommand', 'redisCommand'] as const) {
      this.#on<{ command: string; ms: number; error?: unknown }>(name, ({ command, ms, error }) => {
        this.commands.add([command, error === undefined ? 'ok' : codeOf(error)])
        this.commandTimes.observe(ms / 1000)
      })
    }
    this.#on('brokerError', () => this.errors.add(['broker']))
    this.#on('storeError', () => this.errors.add(['store']))
    this.#on('limiterError', () => this.errors.add(['limiter']))
    this.#on('callbackError', () => this.errors.add(['callback']))
    this.#on('webhookError', () => this.errors.add(['webhook']))
  }

  #on<Message>(name: keyof typeof diagnostics, listener: (message: Message) => void): void {
    const channel = diagnostics[name].name
    const onMessage = (message: unknown): void => listener(message as Message)
    subscribe(channel, onMessage)
    this.#unsubscribes.push(() => unsubscribe(channel, onMessage))
  }

  #addUp(): Sums {
    const sums: Sums = {
      ...this.#closedStreams,
      ...{ streams: this.#open.size, lagging: 0, full: 0, lag: 0, maxLag: 0, queued: 0, queuedBytes: 0, saturation: 0 },
    }
    for (const stream of this.#open.values()) {
      const counts = stream.counts()
      for (const name of ['sent', 'pacedEvents', 'pacedBytes', 'lag', 'queued', 'queuedBytes'] as const) {
        sums[name] += counts[name]
      }
      if (counts.lag > 0) sums.lagging++
      if (counts.full) sums.full++
      sums.maxLag = Math.max(sums.maxLag, counts.lag)
      sums.saturation = Math.max(sums.saturation, counts.saturation)
    }
    return sums
  }
}

function observeMs(histogram: Histogram, ms: number | undefined, weight?: number): void {
  if (ms !== undefined) histogram.observe(ms / 1000, weight)
}

/**
 * Whether a stream that closes for this reason sends `retry:` first; see `closingBlocks`.
 * @param wasOpen `false`: a client reconnected to a completed stream and gets a response without a body
 */
function sendsRetry(reason: CloseReason, wasOpen: boolean): boolean {
  return CLOSE_REASONS[reason].reconnect || reason === 'evicted' || (reason === 'completed' && wasOpen)
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
