/**
 * publish ─► **publisher** ─► commands: what one tick publishes goes out together. Owns the order within a channel, how
 * many events share a call, and how much may wait.
 *
 * ```
 *   channel a:  publish publish publish │ publish with a key │ publish        ─► 3 calls, one write to the socket
 *   channel b:  typing typing                                                 ─► 1 call
 * ```
 * A call costs the client several times what an event in it costs, and Redis does nothing for each event
 * (`npm run bench -- publish`). Waiting for the end of the tick shows in no delay (bench `redis`).
 */
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { positionsAfter } from '../positions.js'
import type { RedisCommands } from './commands.js'

/** What shares a call is one entry in Redis, read and trimmed as one, so it is bounded; only `publishMany` may exceed it. */
const MAX_CALL_EVENTS = 256
const MAX_CALL_BYTES = 1_048_576
/** Waiting or under way; above it publishing fails at once instead of piling up while Redis is away. */
const MAX_WAITING_EVENTS = 10_000
const MAX_WAITING_BYTES = 67_108_864

interface Waiter {
  /** Which of the call's events are this caller's. */
  readonly first: number
  readonly count: number
  readonly resolve: (positions: readonly Position[]) => void
  readonly reject: (error: unknown) => void
}

interface Call {
  readonly events: EncodedEvent[]
  readonly ephemeral: boolean
  readonly idempotencyKey: string | undefined
  readonly waiters: Waiter[]
  /** Events that nobody waits for. */
  offered: number
  bytes: number
}

export class RedisPublisher {
  readonly #commands: RedisCommands
  /** What this tick has published, by channel, in order. */
  #calls = new Map<string, Call[]>()
  #waitingEvents = 0
  #waitingBytes = 0

  constructor(commands: RedisCommands) {
    this.#commands = commands
  }

  /** @throws BrokerError */
  publish(
    channel: string,
    events: readonly EncodedEvent[],
    idempotencyKey: string | undefined,
  ): Promise<readonly Position[]> {
    return new Promise((resolve, reject) => {
      const call = this.#take(channel, events, idempotencyKey)
      if (call === undefined) {
        reject(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `${this.#waitingEvents} events already wait for Redis`))
        return
      }
      call.waiters.push({ first: call.events.length - events.length, count: events.length, resolve, reject })
    })
  }

  /** @returns whether there was room */
  offer(channel: string, event: EncodedEvent): boolean {
    const call = this.#take(channel, [event], undefined)
    if (call !== undefined) call.offered++
    return call !== undefined
  }

  /** Adds the events to the tick's last call on the channel, or to a new one. */
  #take(channel: string, events: readonly EncodedEvent[], idempotencyKey: string | undefined): Call | undefined {
    let bytes = 0
    for (const { body } of events) bytes += body.length
    if (this.#waitingEvents + events.length > MAX_WAITING_EVENTS || this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      return undefined
    }
    if (this.#calls.size === 0) setImmediate(() => this.#flush())
    let calls = this.#calls.get(channel)
    if (calls === undefined) {
      calls = []
      this.#calls.set(channel, calls)
    }
    const ephemeral = events.every((event) => event.ephemeral)
    let call = calls.at(-1)
    if (call === undefined || !hasRoom(call, events.length, bytes, ephemeral) || idempotencyKey !== undefined) {
      call = { events: [], ephemeral, idempotencyKey, waiters: [], offered: 0, bytes: 0 }
      calls.push(call)
    }
    call.events.push(...events)
    call.bytes += bytes
    this.#waitingEvents += events.length
    this.#waitingBytes += bytes
    return call
  }

  #flush(): void {
    const tick = this.#calls
    this.#calls = new Map()
    this.#commands.together(() => {
      for (const [channel, calls] of tick) for (const call of calls) void this.#send(channel, call)
    })
  }

  async #send(channel: string, call: Call): Promise<void> {
    const { events, ephemeral, idempotencyKey, waiters } = call
    try {
      const head = ephemeral
        ? await this.#commands.broadcast(channel, events)
        : await this.#commands.append(channel, events, idempotencyKey)
      const positions = positionsAfter(events, head)
      for (const { first, count, resolve } of waiters) resolve(positions.slice(first, first + count))
    } catch (error) {
      for (const { reject } of waiters) reject(error)
      if (call.offered > 0 && diagnostics.publishError.hasSubscribers) {
        diagnostics.publishError.publish({ channel, events: call.offered, error })
      }
    } finally {
      this.#waitingEvents -= events.length
      this.#waitingBytes -= call.bytes
    }
  }
}

/** Whether a call may take more: an idempotency key stands for what it was given with, and for nothing else. */
function hasRoom(call: Call, events: number, bytes: number, ephemeral: boolean): boolean {
  if (call.idempotencyKey !== undefined || call.ephemeral !== ephemeral) return false
  return call.events.length + events <= MAX_CALL_EVENTS && call.bytes + bytes <= MAX_CALL_BYTES
}
