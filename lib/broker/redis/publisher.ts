/**
 * publish ─► **publisher** ─► commands: owns the order within a channel, how many events share a call, and how much may wait.
 *
 * ```
 *   channel a:  ┌ under way ┐  waiting: publish publish publish │ publish with a key │ publish      the next 3 calls
 *   channel b:  idle           typing typing                                                        one call, this tick
 * ```
 * Each channel has one call under way at a time: what is published meanwhile waits, and shares the next call. So the order holds
 * whatever becomes of a call: one that has to be sent again is sent before all that was published after it. Calls of several
 * channels go out in one write.
 *
 * A call costs the client several times what an event in it costs, and Redis does nothing for each event
 * (`npm run bench -- publish`). Waiting for the end of the tick shows in no delay (bench `redis`).
 */
import { outsideContext } from '../../core/async-context.js'
import type { Clock, Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { positionsAfter } from '../positions.js'
import type { RedisCommands } from './commands.js'

/**
 * What shares a call is one entry in Redis, read and trimmed as one, so it is bounded; only `publishMany` may exceed it in bytes. It also
 * bounds what a process publishes on one channel in a round trip. A long history may lose more at once.
 */
const [LEAST_CALL_EVENTS, MOST_CALL_EVENTS] = [256, 1000]
const CALLS_IN_HISTORY = 4
const MAX_CALL_BYTES = 1_048_576
/** Waiting or under way; above it publishing fails at once instead of piling up while Redis is away. */
const MAX_WAITING_EVENTS = 10_000
const MAX_WAITING_BYTES = 67_108_864
/** Of those, under way: there are further copies of them, in the call and on the way to the socket. */
const MAX_SENT_BYTES = 16_777_216

/** What one caller published. */
interface Part {
  readonly events: readonly EncodedEvent[]
  readonly bytes: number
  readonly ephemeral: boolean
  readonly idempotencyKey: string | undefined
  /** Not written by then, it fails. */
  readonly deadline: number
  /** `undefined`: an offer, for whose outcome nobody waits. */
  readonly waiter: Waiter | undefined
}

interface Waiter {
  readonly resolve: (positions: readonly Position[]) => void
  readonly reject: (error: unknown) => void
}

/** The parts of one channel, in order. */
interface Lane {
  readonly channel: string
  readonly waiting: Part[]
  underWay: boolean
}

interface Call {
  readonly parts: readonly Part[]
  readonly events: readonly EncodedEvent[]
  readonly bytes: number
}

export interface PublisherOptions {
  readonly commandTimeoutMs: number
  readonly historySize: number
  readonly clock: Clock
}

export class RedisPublisher {
  readonly #commands: RedisCommands
  readonly #timeoutMs: number
  readonly #callEvents: number
  readonly #clock: Clock
  /** Those with something waiting or under way. */
  readonly #lanes = new Map<string, Lane>()
  /** Those with something waiting and nothing under way. */
  readonly #ready = new Set<Lane>()
  #waitingEvents = 0
  #waitingBytes = 0
  #sentBytes = 0
  #flushing = false
  #expiry: Timer | undefined
  #onIdle: (() => void) | undefined

  constructor(commands: RedisCommands, { commandTimeoutMs, historySize, clock }: PublisherOptions) {
    this.#commands = commands
    this.#timeoutMs = commandTimeoutMs
    const share = Math.floor(historySize / CALLS_IN_HISTORY)
    this.#callEvents = Math.min(MOST_CALL_EVENTS, Math.max(LEAST_CALL_EVENTS, share))
    this.#clock = clock
    commands.client.on('ready', () => this.#schedule())
  }

  /** @throws BrokerError */
  publish(
    channel: string,
    events: readonly EncodedEvent[],
    idempotencyKey: string | undefined,
  ): Promise<readonly Position[]> {
    return new Promise((resolve, reject) => {
      if (this.#take(channel, events, idempotencyKey, { resolve, reject })) return
      reject(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `${this.#waitingEvents} events already wait for Redis`))
    })
  }

  /** @returns whether there was room */
  offer(channel: string, event: EncodedEvent): boolean {
    return this.#take(channel, [event], undefined, undefined)
  }

  /** Resolves when nothing waits or is under way any more. */
  async idle(): Promise<void> {
    if (this.#lanes.size === 0) return
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
    })
  }

  /** Gives up what waits: it was not sent. */
  close(): void {
    this.#expiry?.cancel()
    const error = new BrokerError('ERR_SSE_CLOSED', 'The broker was closed before this was sent')
    for (const lane of this.#lanes.values()) this.#giveUp(lane, lane.waiting.splice(0), error)
  }

  #take(
    channel: string,
    events: readonly EncodedEvent[],
    idempotencyKey: string | undefined,
    waiter: Waiter | undefined,
  ): boolean {
    let bytes = 0
    let ephemeral = true
    for (const event of events) {
      bytes += event.body.length
      if (!event.ephemeral) ephemeral = false
    }
    if (this.#waitingEvents + events.length > MAX_WAITING_EVENTS || this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      return false
    }
    this.#waitingEvents += events.length
    this.#waitingBytes += bytes
    let lane = this.#lanes.get(channel)
    if (lane === undefined) {
      lane = { channel, waiting: [], underWay: false }
      this.#lanes.set(channel, lane)
    }
    const deadline = this.#clock.now() + this.#timeoutMs
    lane.waiting.push({ events, bytes, ephemeral, idempotencyKey, deadline, waiter })
    if (!lane.underWay) {
      this.#ready.add(lane)
      this.#schedule()
    }
    return true
  }

  #schedule(): void {
    if (this.#flushing || this.#ready.size === 0) return
    this.#flushing = true
    // What several requests publish is no single one's affair.
    outsideContext(() => setImmediate(() => this.#flush()))
  }

  #flush(): void {
    this.#flushing = false
    if (this.#commands.ready) {
      this.#commands.together(() => {
        for (const lane of this.#ready) {
          if (this.#sentBytes >= MAX_SENT_BYTES) break
          this.#ready.delete(lane)
          this.#send(lane, nextCall(lane, this.#callEvents))
        }
      })
    }
    if (this.#expiry === undefined) this.#scheduleExpiry()
  }

  #send(lane: Lane, { parts, events, bytes }: Call): void {
    lane.underWay = true
    this.#sentBytes += bytes
    const [first] = parts as readonly [Part]
    const limits = {
      timeoutMs: Math.max(1, first.deadline - this.#clock.now()),
      onSettled: () => this.#onSettled(lane, events.length, bytes),
    }
    const published = first.ephemeral
      ? this.#commands.broadcast(lane.channel, events, limits)
      : this.#commands.append(lane.channel, events, first.idempotencyKey, limits)
    published.then(
      (head) => {
        const positions = positionsAfter(events, head)
        let next = 0
        for (const part of parts) {
          part.waiter?.resolve(positions.slice(next, next + part.events.length))
          next += part.events.length
        }
      },
      (error: unknown) => fail(lane.channel, parts, error),
    )
  }

  /** Nothing of it is in the client any more, whatever its outcome was. */
  #onSettled(lane: Lane, events: number, bytes: number): void {
    lane.underWay = false
    this.#sentBytes -= bytes
    this.#release(lane, events, bytes)
    if (lane.waiting.length > 0) this.#ready.add(lane)
    this.#schedule()
  }

  #release(lane: Lane, events: number, bytes: number): void {
    this.#waitingEvents -= events
    this.#waitingBytes -= bytes
    if (lane.underWay || lane.waiting.length > 0) return
    this.#lanes.delete(lane.channel)
    this.#ready.delete(lane)
    if (this.#lanes.size === 0) this.#onIdle?.()
  }

  #giveUp(lane: Lane, parts: readonly Part[], error: BrokerError): void {
    let events = 0
    let bytes = 0
    for (const part of parts) {
      events += part.events.length
      bytes += part.bytes
    }
    fail(lane.channel, parts, error)
    this.#release(lane, events, bytes)
  }

  /** All parts have the same time, so that the first of each lane runs out first. */
  #scheduleExpiry(): void {
    this.#expiry = undefined
    let earliest = Number.POSITIVE_INFINITY
    for (const { waiting } of this.#lanes.values()) {
      earliest = Math.min(earliest, waiting[0]?.deadline ?? Number.POSITIVE_INFINITY)
    }
    if (earliest === Number.POSITIVE_INFINITY) return
    this.#expiry = this.#clock.after(Math.max(1, earliest - this.#clock.now()), () => this.#expire())
  }

  #expire(): void {
    const now = this.#clock.now()
    for (const lane of [...this.#lanes.values()]) {
      const alive = lane.waiting.findIndex(({ deadline }) => deadline > now)
      const expired = lane.waiting.splice(0, alive === -1 ? lane.waiting.length : alive)
      if (expired.length === 0) continue
      const error = this.#commands.notSent()
      if (diagnostics.brokerCommand.hasSubscribers) {
        diagnostics.brokerCommand.publish({ command: 'publish', ms: this.#timeoutMs, error })
      }
      this.#giveUp(lane, expired, error)
    }
    this.#scheduleExpiry()
  }
}

/** Takes what comes first, and all after it that may share its call. */
function nextCall(lane: Lane, most: number): Call {
  const [first] = lane.waiting as [Part]
  let { bytes } = first
  let events = first.events.length
  let count = 1
  for (; count < lane.waiting.length && first.idempotencyKey === undefined; count++) {
    const part = lane.waiting[count] as Part
    // An idempotency key stands for what it was given with, and for nothing else.
    if (part.idempotencyKey !== undefined || part.ephemeral !== first.ephemeral) break
    if (events + part.events.length > most || bytes + part.bytes > MAX_CALL_BYTES) break
    events += part.events.length
    bytes += part.bytes
  }
  if (count === 1) {
    lane.waiting.shift()
    return { parts: [first], events: first.events, bytes }
  }
  const parts = lane.waiting.splice(0, count)
  const all: EncodedEvent[] = []
  for (const part of parts) for (const event of part.events) all.push(event)
  return { parts, events: all, bytes }
}

function fail(channel: string, parts: readonly Part[], error: unknown): void {
  let offered = 0
  for (const { waiter, events } of parts) {
    if (waiter === undefined) offered += events.length
    else waiter.reject(error)
  }
  if (offered > 0 && diagnostics.publishError.hasSubscribers) {
    diagnostics.publishError.publish({ channel, events: offered, error })
  }
}
