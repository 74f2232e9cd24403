/**
 * What waits until its stream may go on: references to shared bytes, bounded in events, bytes and time. Owns which event is given
 * up when there is no room, and in which order the rest goes out. For what is in no log, and for streams that would rather
 * have what is new than all of it.
 */

import type { Priority } from '../core/message.js'
import type { Blocks } from '../wire/blocks.js'

/**
 * Which event is given up when a bounded queue is full:
 * - `drop-newest`: the one that comes.
 * - `drop-oldest`: the one that has waited longest.
 * - `drop-random`: any that waits, so that what is left is a fair sample.
 * - `drop-low-priority`: the oldest of the lowest priority there is, the newcomer included; and who waits goes out by
 *   priority, high first. What overtakes others goes out without an id, so it may come again after a reconnect.
 * - `coalesce`: what waits under the same `key` is replaced, full or not; without such, as `drop-oldest`.
 * - `disconnect`: none; the stream is ended, and its client comes back to its position.
 */
export type QueuePolicy = (typeof QUEUE_POLICIES)[number]

/** All policies; see `QueuePolicy`. */
export const QUEUE_POLICIES = [
  'drop-newest',
  'drop-oldest',
  'drop-random',
  'drop-low-priority',
  'coalesce',
  'disconnect',
] as const

/** From the first to be sent to the last. */
const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']

export interface BacklogBounds {
  readonly queuePolicy: QueuePolicy
  readonly queueEvents: number
  readonly queueBytes: number
}

export interface Waiting {
  readonly block: Blocks
  /** The same without its `id`, for when it goes out before others that came first: an id says that all before it are out. */
  readonly bare: Blocks
  readonly priority: Priority
  readonly key: string | undefined
  /** By the same clock as `now`. */
  readonly expiresAt: number
}

/**
 * `queue_full`: no room; `coalesced`: replaced by a newer one of the same key; `expired`: waited longer than it was worth;
 * `shed`: all queues of the process together had become too large.
 */
export type DropReason = 'queue_full' | 'coalesced' | 'expired' | 'shed'

/** Drops since the last report. Times by the same clock as `now`. */
export interface Drops {
  readonly count: number
  readonly reason: DropReason
  readonly from: number
  readonly to: number
}

interface Item extends Waiting {
  /** Counts what came. */
  readonly number: number
  /** Where it stands in `#all`. */
  index: number
}

/** All times are of one clock, of the caller's choice, which must not be set forward or back. */
export class Backlog {
  readonly #bounds: BacklogBounds
  readonly #onDrop: (reason: DropReason) => void
  readonly #random: () => number
  /** By lane, in the order they came. Only `drop-low-priority` has more than one lane. */
  readonly #lanes: readonly Set<Item>[]
  /** In no order, to choose one at random. */
  readonly #all: Item[] = []
  /** Of use with `coalesce` only, where there is one of each key at most. */
  readonly #byKey = new Map<string, Item>()
  #bytes = 0
  #offered = 0
  #dropped = 0
  /** Nothing that waits expires before this. */
  #earliestExpiry = Number.POSITIVE_INFINITY
  #drops = new Map<DropReason, Drops>()

  /** @param onDrop called for each event that is given up */
  constructor(
    bounds: BacklogBounds,
    onDrop: (reason: DropReason) => void = () => undefined,
    random: () => number = Math.random,
  ) {
    this.#bounds = bounds
    this.#onDrop = onDrop
    this.#random = random
    this.#lanes = bounds.queuePolicy === 'drop-low-priority' ? PRIORITIES.map(() => new Set()) : [new Set()]
  }

  get length(): number {
    return this.#all.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @returns whether it waits now; with `disconnect` and no room the stream must be ended */
  offer(waiting: Waiting, now: number): boolean {
    const { queuePolicy, queueBytes, queueEvents } = this.#bounds
    if (queuePolicy === 'coalesce' && waiting.key !== undefined) {
      const older = this.#byKey.get(waiting.key)
      if (older !== undefined) this.#drop(older, 'coalesced', now)
    }
    const { length } = waiting.block
    const fits = (): boolean => this.#all.length < queueEvents && this.#bytes + length <= queueBytes
    if (!fits()) this.#dropExpired(now)
    while (!fits()) {
      const victim = length > queueBytes || queueEvents === 0 ? undefined : this.#victim(waiting)
      if (victim === undefined) {
        this.#note('queue_full', now)
        return false
      }
      this.#drop(victim, 'queue_full', now)
    }
    this.#add({ ...waiting, number: this.#offered++, index: this.#all.length })
    return true
  }

  /** The next that is still worth sending; it stays until it is taken. */
  peek(now: number): Blocks | undefined {
    for (let next = this.#next(); next; next = this.#next()) {
      if (next.expiresAt > now) return this.#overtakes(next) ? next.bare : next.block
      this.#drop(next, 'expired', now)
    }
    return undefined
  }

  /** Takes the next. */
  take(): void {
    const next = this.#next()
    if (next !== undefined) this.#remove(next)
  }

  /** Drops all that waits. */
  clear(reason: DropReason, now: number): void {
    for (const item of [...this.#all]) this.#drop(item, reason, now)
  }

  /** Drops in all. */
  get dropped(): number {
    return this.#dropped
  }

  /** What was dropped since the last call, by reason. */
  takeDrops(): readonly Drops[] {
    const drops = [...this.#drops.values()]
    this.#drops.clear()
    return drops
  }

  #next(): Item | undefined {
    for (const lane of this.#lanes) for (const item of lane) return item
    return undefined
  }

  /** Who makes room for the newcomer; `undefined`: the newcomer itself goes. */
  #victim(newcomer: Waiting): Item | undefined {
    const { queuePolicy } = this.#bounds
    if (queuePolicy === 'drop-newest' || queuePolicy === 'disconnect') return undefined
    if (queuePolicy === 'drop-random') return this.#all[Math.floor(this.#random() * this.#all.length)]
    const own = queuePolicy === 'drop-low-priority' ? PRIORITIES.indexOf(newcomer.priority) : 0
    for (let lane = this.#lanes.length - 1; lane >= own; lane--) {
      for (const oldest of this.#lanes[lane] ?? []) return oldest
    }
    return undefined
  }

  /** Whether one that came before it is still waiting. */
  #overtakes({ number }: Item): boolean {
    return this.#lanes.some((lane) => {
      for (const oldest of lane) return oldest.number < number
      return false
    })
  }

  #dropExpired(now: number): void {
    if (now < this.#earliestExpiry) return
    let earliest = Number.POSITIVE_INFINITY
    for (const item of [...this.#all]) {
      if (item.expiresAt <= now) this.#drop(item, 'expired', now)
      else earliest = Math.min(earliest, item.expiresAt)
    }
    this.#earliestExpiry = earliest
  }

  #add(item: Item): void {
    this.#all.push(item)
    this.#laneOf(item).add(item)
    if (item.key !== undefined) this.#byKey.set(item.key, item)
    this.#bytes += item.block.length
    this.#earliestExpiry = Math.min(this.#earliestExpiry, item.expiresAt)
  }

  #remove(item: Item): void {
    this.#laneOf(item).delete(item)
    const last = this.#all.pop()
    if (last !== undefined && last !== item) {
      this.#all[item.index] = last
      last.index = item.index
    }
    if (item.key !== undefined) this.#byKey.delete(item.key)
    this.#bytes -= item.block.length
  }

  #laneOf({ priority }: Item): Set<Item> {
    return this.#lanes[this.#lanes.length === 1 ? 0 : PRIORITIES.indexOf(priority)] as Set<Item>
  }

  #drop(item: Item, reason: DropReason, now: number): void {
    this.#remove(item)
    this.#note(reason, now)
  }

  #note(reason: DropReason, now: number): void {
    this.#dropped++
    const { count = 0, from = now } = this.#drops.get(reason) ?? {}
    this.#drops.set(reason, { count: count + 1, reason, from, to: now })
    this.#onDrop(reason)
  }
}
