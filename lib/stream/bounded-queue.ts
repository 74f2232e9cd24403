/**
 * The events that wait for their stream's credit: references to shared bytes, bounded in events, bytes and time. Owns
 * which event is dropped when there is no room, and the order in which the others are sent. Must not know the stream,
 * its socket or its clock.
 */

import type { Priority } from '../core/message.js'
import type { Blocks } from '../wire/blocks.js'

/**
 * What happens to events that a stream cannot send immediately (`StreamOptions.queuePolicy`):
 * - `replay`: events of channels stay in the log, and the stream reads them from there. Only events that are in no log
 *   wait in the queue; a full queue drops the event that arrives.
 *
 * With every other policy the events of channels wait in the queue too. A full queue drops:
 * - `drop-newest`: the event that arrives.
 * - `drop-oldest`: the event that has waited longest.
 * - `drop-random`: any waiting event, so that the others are a fair sample.
 * - `drop-low-priority`: the oldest event of the lowest priority, the one that arrives included. Waiting events are
 *   sent by priority, high first. An event that is sent before an older one has no id, so it may be sent again after a
 *   reconnect, and a listener of a shared stream that joins later does not get it.
 * - `coalesce`: an event replaces the waiting event with the same `key`, also if the queue is not full. Without such an
 *   event: as `drop-oldest`.
 * - `disconnect`: no event. The stream is closed with `backlog_full`, and its client resumes at its position.
 */
export type QueuePolicy = (typeof QUEUE_POLICIES)[number]

/** All policies; see `QueuePolicy`. */
export const QUEUE_POLICIES = [
  'replay',
  'drop-newest',
  'drop-oldest',
  'drop-random',
  'drop-low-priority',
  'coalesce',
  'disconnect',
] as const

const NO_DROPS: readonly Drops[] = []
/** In the order in which they are sent. */
const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']

/** The options of a stream that its queue needs. */
export interface QueueBounds {
  readonly queuePolicy: QueuePolicy
  readonly queueEvents: number
  readonly queueBytes: number
}

export interface QueuedEvent {
  readonly block: Blocks
  /**
   * The block without its `id`, which is sent if the event overtakes older ones: an id means that the client has all
   * events before it.
   */
  readonly bare: Blocks
  readonly priority: Priority
  readonly key: string | undefined
  /** By the same clock as `now`. */
  readonly expiresAt: number
}

/**
 * `queue_full`: there was no room; `coalesced`: a newer event with the same key replaced it; `expired`: it waited
 * longer than its `ttlMs`; `shed`: the queues of all streams of the process together had become too large.
 */
export type DropReason = 'queue_full' | 'coalesced' | 'expired' | 'shed'

/** Events that were dropped at one place of the queue, and are not reported yet. Times are by the same clock as `now`. */
export interface Drops {
  readonly count: number
  readonly reason: DropReason
  readonly from: number
  readonly to: number
}

interface Item extends QueuedEvent {
  /** The item's place in `#all`. */
  index: number
  /** The neighbours in the order of arrival. */
  older: Item | undefined
  newer: Item | undefined
  /** What was dropped between this item and the one before it. */
  drops: readonly Drops[]
}

/** All times are by one clock, which the caller chooses and which must never be set forward or back. */
export class BoundedQueue {
  readonly #bounds: QueueBounds
  readonly #onDrop: (reason: DropReason) => void
  readonly #random: () => number
  /** One lane for each priority with `drop-low-priority`, otherwise one lane. Each in the order of arrival. */
  readonly #lanes: readonly Set<Item>[]
  /** All items in no order, to choose one at random. */
  readonly #all: Item[] = []
  /** The ends of the items in the order of arrival. */
  #oldest: Item | undefined
  #newest: Item | undefined
  /** For `coalesce`, which keeps at most one item of each key. */
  readonly #byKey = new Map<string, Item>()
  #bytes = 0
  #dropped = 0
  /** No item expires before this time. */
  #earliestExpiry = Number.POSITIVE_INFINITY
  /** What was dropped after the newest item. */
  #drops: readonly Drops[] = NO_DROPS

  /** @param onDrop called for each dropped event */
  constructor(
    bounds: QueueBounds,
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

  /** How many events were dropped since the queue was made. */
  get dropped(): number {
    return this.#dropped
  }

  /** @returns whether the event waits now. With `disconnect`, `false` means that the stream must be closed */
  offer(event: QueuedEvent, now: number): boolean {
    const { queuePolicy, queueBytes, queueEvents } = this.#bounds
    if (queuePolicy === 'coalesce' && event.key !== undefined) {
      const older = this.#byKey.get(event.key)
      if (older !== undefined) this.#drop(older, 'coalesced', now)
    }
    const { length } = event.block
    const fits = (): boolean => this.#all.length < queueEvents && this.#bytes + length <= queueBytes
    if (!fits()) this.#dropExpired(now)
    while (!fits()) {
      const victim = length > queueBytes || queueEvents === 0 ? undefined : this.#victimFor(event)
      if (victim === undefined) {
        this.#countDrop(undefined, 'queue_full', now)
        return false
      }
      this.#drop(victim, 'queue_full', now)
    }
    this.#add(event)
    return true
  }

  /** Drops expired events and returns the next one, which stays in the queue until `take`. */
  peek(now: number): Blocks | undefined {
    for (let next = this.#next(); next; next = this.#next()) {
      // An event with an older neighbour overtakes it.
      if (next.expiresAt > now) return next.older ? next.bare : next.block
      this.#drop(next, 'expired', now)
    }
    return undefined
  }

  /** Removes the event that `peek` returned. `takeDrops` returns what was dropped before it. */
  take(): void {
    const next = this.#next()
    if (next !== undefined) this.#remove(next)
  }

  /** Drops all events. */
  clear(reason: DropReason, now: number): void {
    for (const item of [...this.#all]) this.#drop(item, reason, now)
  }

  /** Returns, once and by reason, what was dropped before the oldest event that waits: all drops if none waits. */
  takeDrops(): readonly Drops[] {
    const place = this.#oldest
    const drops = place?.drops ?? this.#drops
    if (place === undefined) this.#drops = NO_DROPS
    else place.drops = NO_DROPS
    return drops
  }

  /** Returns, once and by reason, all drops. */
  takeAllDrops(): readonly Drops[] {
    let drops = NO_DROPS
    for (let item = this.#oldest; item; item = item.newer) {
      drops = merged(drops, item.drops)
      item.drops = NO_DROPS
    }
    drops = merged(drops, this.#drops)
    this.#drops = NO_DROPS
    return drops
  }

  #next(): Item | undefined {
    for (const lane of this.#lanes) for (const item of lane) return item
    return undefined
  }

  /** The item to drop so that `event` has room; `undefined`: `event` itself is dropped. */
  #victimFor(event: QueuedEvent): Item | undefined {
    switch (this.#bounds.queuePolicy) {
      case 'replay':
      case 'drop-newest':
      case 'disconnect':
        return undefined
      case 'drop-random':
        return this.#all[Math.floor(this.#random() * this.#all.length)]
      case 'drop-oldest':
      case 'coalesce':
        return this.#oldestOfLowest(0)
      case 'drop-low-priority':
        return this.#oldestOfLowest(PRIORITIES.indexOf(event.priority))
    }
  }

  /** The oldest item of the last lane that is not empty, among the lanes from `firstLane` on. */
  #oldestOfLowest(firstLane: number): Item | undefined {
    for (let lane = this.#lanes.length - 1; lane >= firstLane; lane--) {
      for (const oldest of this.#lanes[lane] ?? []) return oldest
    }
    return undefined
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

  #add(event: QueuedEvent): void {
    const older = this.#newest
    const item: Item = { ...event, index: this.#all.length, older, newer: undefined, drops: this.#drops }
    this.#drops = NO_DROPS
    if (older === undefined) this.#oldest = item
    else older.newer = item
    this.#newest = item
    this.#all.push(item)
    this.#laneOf(item).add(item)
    if (item.key !== undefined) this.#byKey.set(item.key, item)
    this.#bytes += item.block.length
    this.#earliestExpiry = Math.min(this.#earliestExpiry, item.expiresAt)
  }

  #remove(item: Item): void {
    const { older, newer } = item
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    this.#addDrops(newer, item.drops)
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
    this.#countDrop(item.newer, reason, now)
  }

  /** @param before the waiting item before which the event was; `undefined`: none */
  #countDrop(before: Item | undefined, reason: DropReason, now: number): void {
    this.#dropped++
    this.#addDrops(before, [{ count: 1, reason, from: now, to: now }])
    this.#onDrop(reason)
  }

  #addDrops(before: Item | undefined, drops: readonly Drops[]): void {
    if (before === undefined) this.#drops = merged(this.#drops, drops)
    else before.drops = merged(before.drops, drops)
  }
}

/** The drops of two places, by reason. */
function merged(drops: readonly Drops[], others: readonly Drops[]): readonly Drops[] {
  if (others.length === 0) return drops
  if (drops.length === 0) return others
  const byReason = new Map(drops.map((each) => [each.reason, each]))
  for (const { count, reason, from, to } of others) {
    const each = byReason.get(reason) ?? { count: 0, from, to }
    const first = Math.min(each.from, from)
    byReason.set(reason, { count: each.count + count, reason, from: first, to: Math.max(each.to, to) })
  }
  return [...byReason.values()]
}
