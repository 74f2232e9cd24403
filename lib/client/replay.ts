/**
 * The positions of several listeners that share a stream, and the latest events for listeners that join. Cursors are
 * compared part by part: `<epoch>-<offset>` of each channel. Ids of other servers are only compared for equality.
 */
import type { Position } from '../core/position.js'
import type { ResetData } from '../wire/contract.js'
import { parseCursor, printCursor } from '../wire/cursor.js'
import { ClientEvent } from './listeners.js'

/** Whether `id` includes an event that `position` does not include. */
export function isBeyond(id: string, position: string): boolean {
  if (id === '' || id === position) return false
  const knownOffsets = offsets(position)
  return parseCursor(id)?.every(({ epoch, offset }) => (knownOffsets.get(epoch) ?? -1) >= offset) !== true
}

/** @returns the position after the event; `undefined` if `position` already includes the event */
export function advance(position: string, { type, id }: ClientEvent): string | undefined {
  if (id === '') return position
  // The logs restart, possibly at lower offsets. Of several resets only the last has an id.
  if (type === 'sse.reset') return id
  if (!isBeyond(id, position)) return undefined
  // Another stream may send the channels in another order, so each part can be ahead or behind.
  const knownOffsets = offsets(position)
  const parts = parseCursor(id)
  return parts
    ? printCursor(parts.map(({ epoch, offset }) => ({ epoch, offset: Math.max(offset, knownOffsets.get(epoch) ?? 0) })))
    : id
}

/** Whether another log has replaced one at a lower offset: `from` includes events that `position` does not. */
export function lacks(position: string, from: string): boolean {
  const parts = parseCursor(from)
  const isLower = ({ epoch, offset }: Position, i: number): boolean => {
    const part = parts?.[i]
    return part !== undefined && part.epoch !== epoch && offset < part.offset
  }
  return parseCursor(position)?.some(isLower) === true
}

function offsets(cursor: string): Map<string, number> {
  return new Map(parseCursor(cursor)?.map(({ epoch, offset }) => [epoch, offset]))
}

/**
 * The events for a listener that joins at a position. If the position is older than the kept events, its application
 * reloads, and the listener continues from the stream's position; what follows it may be a gap.
 */
export function missedEvents(replay: Replay, from: string): readonly ClientEvent[] {
  return replay.since(from) ?? [behindEvent(replay.position), ...(replay.since(replay.position) ?? [])]
}

export function behindEvent(position: string): ClientEvent {
  const data: ResetData = { channel: '', reason: 'behind' }
  return new ClientEvent('sse.reset', JSON.stringify(data), position)
}

/** The latest events of a shared stream, for listeners that join with their own position. */
export interface Replay {
  /** The position after the last event. '' until the stream sent a position. */
  readonly position: string
  /** @returns whether the event is new */
  push(event: ClientEvent): boolean
  /** The events after a position; `undefined` if the position is older than the kept events. */
  since(position: string): readonly ClientEvent[] | undefined
}

/**
 * Events without an id are for current listeners only, except announcements of lost events: they apply to each listener
 * that replays past them.
 */
const LOSSES: ReadonlySet<string> = new Set(['sse.gap', 'sse.dropped', 'sse.reset'])
const MAX_EVENTS = 256
const MAX_CHARS = 262_144

export function createReplay(start: string): Replay {
  const events: ClientEvent[] = []
  let position = start
  /** The position before the first kept event. */
  let base = start
  /** A loss that was announced after `base` is not kept any more. */
  let baseHasLoss = false
  let chars = 0

  return {
    get position() {
      return position
    },

    push(event) {
      const next = advance(position, event)
      if (next === undefined) return false
      position = next
      if (event.id === '' && !LOSSES.has(event.type)) return true
      chars += event.data.length
      for (events.push(event); events.length > MAX_EVENTS || chars > MAX_CHARS; ) {
        const oldest = events.shift()
        if (oldest === undefined) break
        chars -= oldest.data.length
        base = advance(base, oldest) ?? base
        baseHasLoss = oldest.id === ''
      }
      return true
    },

    since(from) {
      const last = events.findLastIndex(({ id }) => id !== '' && !isBeyond(id, from))
      if (last < 0 && (base === '' || baseHasLoss || isBeyond(base, from))) return undefined
      const missed = events.slice(last + 1)
      // A listener that is ahead of the stream is not told by the stream of a log that was replaced.
      const isTold = missed.some(({ type }) => type === 'sse.reset') || !lacks(position, from)
      return isTold ? missed : undefined
    },
  }
}
