/**
 * The publishes of one channel that wait, and those that one call takes from them. Owns which publishes may share a
 * call, and what its outcome means for each.
 */
import { reportPublishError } from '../../core/diagnostics.js'
import type { SseError } from '../../core/errors.js'
import type { EncodedEvent } from '../../core/message.js'
import { type Position, positionsUpTo } from '../../core/position.js'
import type { ResolvedRetention } from '../options.js'
import type { PublishCall } from './publish-calls.js'

/** Only `publishMany` may exceed it. */
const MAX_CALL_BYTES = 1_048_576

/** The events of one `publish`, `publishMany` or `offer`. */
export interface PendingPublish {
  readonly events: readonly EncodedEvent[]
  readonly bytes: number
  readonly ephemeral: boolean
  readonly idempotencyKey: string | undefined
  /** Ends the log. Resolves with where it ended. */
  readonly ends: boolean
  /** If the events are not sent by then, the publish fails. */
  readonly deadline: number
  /** `undefined`: an `offer`, whose outcome no caller awaits. */
  readonly promise: PublishPromise | undefined
}

export interface PublishPromise {
  readonly resolve: (positions: readonly Position[]) => void
  readonly reject: (error: unknown) => void
}

/** What a publish counts against the bound on waiting events: the end of a log has none. */
export function weightOf({ events }: Pick<PendingPublish, 'events'>): number {
  return Math.max(1, events.length)
}

/** The publishes of one channel, in order. Exists while any of them waits or is in flight. */
export interface PublishQueue {
  readonly channel: string
  readonly retention: ResolvedRetention
  readonly waiting: PendingPublish[]
  /** A call of this channel is in flight. */
  inFlight: boolean
}

/** Publishes of one channel that are sent as one step. */
export class QueuedCall implements PublishCall {
  readonly events: readonly EncodedEvent[]
  readonly bytes: number
  readonly timeoutMs: number
  readonly #queue: PublishQueue
  readonly #publishes: readonly [PendingPublish, ...PendingPublish[]]
  readonly #whenSettled: (queue: PublishQueue, weight: number, bytes: number) => void

  constructor(
    queue: PublishQueue,
    publishes: readonly [PendingPublish, ...PendingPublish[]],
    timeoutMs: number,
    whenSettled: (queue: PublishQueue, weight: number, bytes: number) => void,
  ) {
    this.#queue = queue
    this.#publishes = publishes
    this.timeoutMs = timeoutMs
    this.#whenSettled = whenSettled
    const [first] = publishes
    // A log ends once, with the first of several last events.
    this.events = publishes.length === 1 || first.ends ? first.events : publishes.flatMap(({ events }) => events)
    this.bytes = publishes.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  get channel(): string {
    return this.#queue.channel
  }

  get retention(): ResolvedRetention {
    return this.#queue.retention
  }

  get idempotencyKey(): string | undefined {
    return this.#publishes[0].idempotencyKey
  }

  get ephemeral(): boolean {
    return this.#publishes[0].ephemeral
  }

  get ends(): boolean {
    return this.#publishes[0].ends
  }

  /** The first publish waits longest. */
  get deadline(): number {
    return this.#publishes[0].deadline
  }

  resolve(head: Position): void {
    if (this.ends) {
      for (const { promise } of this.#publishes) promise?.resolve([head])
      return
    }
    const positions = positionsUpTo(head, this.events)
    let next = 0
    for (const { promise, events } of this.#publishes) {
      promise?.resolve(positions.slice(next, next + events.length))
      next += events.length
    }
  }

  reject(error: SseError): void {
    rejectAll(this.channel, this.#publishes, error)
  }

  onSettled(): void {
    const weight = this.#publishes.reduce((sum, publish) => sum + weightOf(publish), 0)
    this.#whenSettled(this.#queue, weight, this.bytes)
  }
}

/** Removes the first publish from the queue, and those after it that may share its call. */
export function takePublishes(queue: PublishQueue, maxEvents: number): [PendingPublish, ...PendingPublish[]] {
  const [first] = queue.waiting as [PendingPublish]
  let { bytes } = first
  let events = first.events.length
  let count = 1
  if (first.ends) while (queue.waiting[count]?.ends) count++
  for (; count < queue.waiting.length && !isAlone(first); count++) {
    const publish = queue.waiting[count] as PendingPublish
    if (isAlone(publish) || publish.ephemeral !== first.ephemeral) break
    if (events + publish.events.length > maxEvents || bytes + publish.bytes > MAX_CALL_BYTES) break
    events += publish.events.length
    bytes += publish.bytes
  }
  return queue.waiting.splice(0, count) as [PendingPublish, ...PendingPublish[]]
}

/**
 * An idempotency key covers exactly the events of its own publish. What ends a log that has ended already succeeds,
 * while other publishes on it are refused, so only ends share a call.
 */
function isAlone({ idempotencyKey, ends }: PendingPublish): boolean {
  return idempotencyKey !== undefined || ends
}

/** Rejects publishes, and reports the events given to `offer`. */
export function rejectAll(channel: string, publishes: readonly PendingPublish[], error: unknown): void {
  let offered = 0
  for (const { promise, events } of publishes) {
    if (promise === undefined) offered += events.length
    else promise.reject(error)
  }
  if (offered > 0) reportPublishError(channel, offered, error)
}

/** What an event takes in a call, about: with its key and trace, which are ASCII. */
export function bytesOf({ body, key, trace }: EncodedEvent): number {
  return body.length + (key?.length ?? 0) + (trace?.length ?? 0)
}
