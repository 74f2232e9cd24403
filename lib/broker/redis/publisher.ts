/**
 * publish ─► **publisher** ─► commands. Owns the order of the events in a channel, when calls are sent, and how many
 * events may wait. Must not know the scripts, nor when a call is sent again.
 *
 * ```
 *   channel a:  ┌ in flight ┐  waiting: publish publish publish │ publish with a key │ publish      the next 3 calls
 *   channel b:  idle           typing typing                                                        one call, this tick
 * ```
 * Each channel has one call in flight at a time. Events that are published meanwhile wait and share the next call. So
 * the order holds for every outcome of a call: its retries precede all events that were published after it. The calls
 * of several channels reach Redis together (publish-calls.ts).
 *
 * A call costs the client several times as much as an event in it, and Redis does no work per event
 * (`npm run bench -- publish`). Waiting for the end of the tick adds no measurable delay (bench `redis`).
 */
import { outsideContext } from '../../core/async-context.js'
import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import type { ResolvedRetention } from '../options.js'
import type { RedisCommands } from './commands.js'
import {
  bytesOf,
  type PendingPublish,
  type PublishPromise,
  type PublishQueue,
  QueuedCall,
  rejectAll,
  takePublishes,
  weightOf,
} from './queued-call.js'

/**
 * The bounds of one call: at least 256 events, at most 1000, and in between a quarter of the history. The events of a
 * call are one stream entry in Redis, which is read and trimmed as one, so a call must not hold most of a short
 * history. The bound also limits how many events a process publishes on one channel per round trip.
 */
const [MIN_CALL_EVENTS, MAX_CALL_EVENTS] = [256, 1000]
const CALLS_IN_HISTORY = 4
/** The bounds on events that wait or are in flight. Further publishes fail immediately. */
const MAX_PENDING_EVENTS = 10_000
const MAX_PENDING_BYTES = 67_108_864
/** The bound on bytes in flight, because these exist twice more: in the call and in the socket's buffer. */
const MAX_IN_FLIGHT_BYTES = 16_777_216

export interface PublisherOptions {
  readonly commandTimeoutMs: number
  readonly retentionOf: (channel: string) => ResolvedRetention
  readonly clock: Clock
}

/** See `PendingPublish`. */
interface PublishParams {
  readonly idempotencyKey?: string | undefined
  readonly ends?: boolean
  readonly promise?: PublishPromise
}

export class RedisPublisher {
  readonly #commands: RedisCommands
  readonly #timeoutMs: number
  readonly #retentionOf: (channel: string) => ResolvedRetention
  readonly #clock: Clock
  /** By channel. */
  readonly #queues = new Map<string, PublishQueue>()
  /** The queues with waiting events and no call in flight. */
  readonly #ready = new Set<PublishQueue>()
  #pendingEvents = 0
  #pendingBytes = 0
  #inFlightBytes = 0
  #flushing = false
  #expiry: Timer | undefined
  #onIdle: (() => void) | undefined

  constructor(commands: RedisCommands, { commandTimeoutMs, retentionOf, clock }: PublisherOptions) {
    this.#commands = commands
    this.#timeoutMs = commandTimeoutMs
    this.#retentionOf = retentionOf
    this.#clock = clock
    commands.client.on('ready', () => this.#schedule())
  }

  /** Resolves with the positions when the events are published. @throws BrokerError */
  publish(
    channel: string,
    events: readonly EncodedEvent[],
    idempotencyKey: string | undefined,
  ): Promise<readonly Position[]> {
    return new Promise((resolve, reject) => {
      if (!this.#enqueue(channel, events, { idempotencyKey, promise: { resolve, reject } })) reject(this.#overload)
    })
  }

  /** Ends the log. Resolves with where it ended. @throws BrokerError */
  async end(channel: string, events: readonly EncodedEvent[]): Promise<Position> {
    const [head] = await new Promise<readonly Position[]>((resolve, reject) => {
      if (!this.#enqueue(channel, events, { ends: true, promise: { resolve, reject } })) reject(this.#overload)
    })
    return head as Position
  }

  /** Publishes without a result. @returns `false` if too many events wait */
  offer(channel: string, event: EncodedEvent): boolean {
    return this.#enqueue(channel, [event], {})
  }

  /** Resolves when no event waits or is in flight. */
  async whenIdle(): Promise<void> {
    if (this.#queues.size === 0) return
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
    })
  }

  /** Rejects the events that wait. They were not sent. */
  close(): void {
    this.#expiry?.cancel()
    const error = new BrokerError('ERR_SSE_CLOSED', 'The broker was closed before the event was sent')
    for (const queue of this.#queues.values()) this.#discard(queue, queue.waiting.splice(0), error)
  }

  get #overload(): BrokerError {
    const text = `${this.#pendingEvents} events are already waiting for Redis: try again later`
    return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', text)
  }

  #enqueue(
    channel: string,
    events: readonly EncodedEvent[],
    { idempotencyKey, ends = false, promise }: PublishParams,
  ): boolean {
    let bytes = 0
    let ephemeral = !ends
    for (const event of events) {
      bytes += bytesOf(event)
      if (!event.ephemeral) ephemeral = false
    }
    const weight = weightOf({ events })
    if (this.#pendingEvents + weight > MAX_PENDING_EVENTS || this.#pendingBytes + bytes > MAX_PENDING_BYTES)
      return false
    let queue = this.#queues.get(channel)
    // The application's function may throw, so nothing is counted before.
    const retention = queue?.retention ?? this.#retentionOf(channel)
    this.#pendingEvents += weight
    this.#pendingBytes += bytes
    if (queue === undefined) {
      queue = { channel, retention, waiting: [], inFlight: false }
      this.#queues.set(channel, queue)
    }
    const deadline = this.#clock.now() + this.#timeoutMs
    queue.waiting.push({ events, bytes, ephemeral, idempotencyKey, ends, deadline, promise })
    // Without a timer nothing waits, so this publish expires first.
    this.#expiry ??= this.#clock.after(this.#timeoutMs, this.#expire)
    if (!queue.inFlight) {
      this.#ready.add(queue)
      this.#schedule()
    }
    return true
  }

  #schedule(): void {
    if (this.#flushing || this.#ready.size === 0) return
    this.#flushing = true
    // A call holds the events of several requests, so it must not run in the async context of one of them.
    outsideContext(() => setImmediate(() => this.#flush()))
  }

  #flush(): void {
    this.#flushing = false
    if (!this.#commands.ready) return
    this.#commands.inOneWrite(() => {
      const calls: QueuedCall[] = []
      for (const queue of this.#ready) {
        if (this.#inFlightBytes >= MAX_IN_FLIGHT_BYTES) break
        this.#ready.delete(queue)
        const publishes = takePublishes(queue, maxCallEvents(queue.retention))
        const call = new QueuedCall(queue, publishes, this.#timeoutMs, this.#onSettled)
        queue.inFlight = true
        this.#inFlightBytes += call.bytes
        if (call.ephemeral) this.#commands.broadcast(call)
        else calls.push(call)
      }
      this.#commands.append(calls)
    })
  }

  /** The client does not hold the call any more. Does not depend on the outcome. */
  readonly #onSettled = (queue: PublishQueue, weight: number, bytes: number): void => {
    queue.inFlight = false
    this.#inFlightBytes -= bytes
    this.#release(queue, weight, bytes)
    if (queue.waiting.length > 0) this.#ready.add(queue)
    this.#schedule()
  }

  #release(queue: PublishQueue, weight: number, bytes: number): void {
    this.#pendingEvents -= weight
    this.#pendingBytes -= bytes
    if (queue.inFlight || queue.waiting.length > 0) return
    this.#queues.delete(queue.channel)
    this.#ready.delete(queue)
    if (this.#queues.size === 0) this.#onIdle?.()
  }

  #discard(queue: PublishQueue, publishes: readonly PendingPublish[], error: BrokerError): void {
    let weight = 0
    let bytes = 0
    for (const publish of publishes) {
      weight += weightOf(publish)
      bytes += publish.bytes
    }
    rejectAll(queue.channel, publishes, error)
    this.#release(queue, weight, bytes)
  }

  /** All publishes have the same time limit, so the first one in each queue expires first. */
  #scheduleExpiry(): void {
    this.#expiry = undefined
    let earliest = Number.POSITIVE_INFINITY
    for (const { waiting } of this.#queues.values()) {
      earliest = Math.min(earliest, waiting[0]?.deadline ?? Number.POSITIVE_INFINITY)
    }
    if (earliest === Number.POSITIVE_INFINITY) return
    this.#expiry = this.#clock.after(Math.max(1, earliest - this.#clock.now()), this.#expire)
  }

  readonly #expire = (): void => {
    const now = this.#clock.now()
    for (const queue of [...this.#queues.values()]) {
      const alive = queue.waiting.findIndex(({ deadline }) => deadline > now)
      const expired = queue.waiting.splice(0, alive === -1 ? queue.waiting.length : alive)
      if (expired.length === 0) continue
      const error = this.#commands.notSentError()
      if (diagnostics.brokerCommand.hasSubscribers) {
        diagnostics.brokerCommand.publish({ command: 'publish', ms: this.#timeoutMs, error })
      }
      this.#discard(queue, expired, error)
    }
    this.#scheduleExpiry()
  }
}

function maxCallEvents({ historySize }: ResolvedRetention): number {
  return Math.min(MAX_CALL_EVENTS, Math.max(MIN_CALL_EVENTS, Math.floor(historySize / CALLS_IN_HISTORY)))
}
