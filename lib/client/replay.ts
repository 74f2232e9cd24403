/**
 * Where one of several that share a stream has come to. Cursors are compared part by part: `<epoch>-<offset>` of each channel.
 * What is no cursor of this kit's can only be equal or not.
 */
import { parseCursor, printCursor } from '../wire/cursor.js'
import { ClientEvent } from './listeners.js'

/** Whether `id` stands for anything that is not before or at `position`. */
export function isBeyond(id: string, position: string): boolean {
  if (id === '' || id === position) return false
  const had = offsets(position)
  return parseCursor(id)?.every(({ epoch, offset }) => (had.get(epoch) ?? -1) >= offset) !== true
}

/** @returns the position after an event; `undefined` if it is one that was had before */
export function advance(position: string, { type, id }: ClientEvent): string | undefined {
  if (id === '') return position
  // The log begins anew, be it at a lower offset.
  if (type === 'sse.reset') return id
  if (!isBeyond(id, position)) return undefined
  // Another stream may order the channels otherwise, so that one part is ahead here and another there.
  const had = offsets(position)
  const parts = parseCursor(id)
  return parts
    ? printCursor(parts.map(({ epoch, offset }) => ({ epoch, offset: Math.max(offset, had.get(epoch) ?? 0) })))
    : id
}

function offsets(cursor: string): Map<string, number> {
  return new Map(parseCursor(cursor)?.map(({ epoch, offset }) => [epoch, offset]))
}

/** For who comes with a position that is no longer to be had: it loads anew, and goes on from `position`. */
export function behindEvent(position: string): ClientEvent {
  return new ClientEvent('sse.reset', '{"channel":"","reason":"behind"}', position)
}

/** A reset tells, beyond what the server says, where the stream goes on: for all who share it, that is the only way to know. */
export function placed(event: ClientEvent, { cursor }: { readonly cursor: string }): ClientEvent {
  return event.type === 'sse.reset' ? new ClientEvent(event.type, event.data, cursor) : event
}

/** The latest events of a stream, for those that join it with a position of their own. */
export interface Replay {
  readonly position: string
  /** @returns whether it is new */
  push(event: ClientEvent): boolean
  /** What comes after a position; `undefined` if that is further back than what is kept. */
  since(position: string): readonly ClientEvent[] | undefined
}

const MAX_EVENTS = 256
const MAX_CHARS = 262_144

export function createReplay(start: string): Replay {
  const events: ClientEvent[] = []
  let position = start
  /** The position before the first of the events. */
  let base = start
  let chars = 0

  return {
    get position() {
      return position
    },

    push(event) {
      const next = advance(position, event)
      if (next === undefined) return false
      position = next
      // Events in no log are for those who are there. Of the kit's own, what is gone or new must be said to all who pass it.
      if (event.id === '' && event.type !== 'sse.gap') return true
      chars += event.data.length
      for (events.push(event); events.length > MAX_EVENTS || chars > MAX_CHARS; ) {
        const oldest = events.shift()
        if (oldest === undefined) break
        chars -= oldest.data.length
        base = advance(base, oldest) ?? base
      }
      return true
    },

    since(from) {
      const last = events.findLastIndex(({ id }) => id !== '' && !isBeyond(id, from))
      if (last < 0 && (base === '' || isBeyond(base, from))) return undefined
      return events.slice(last + 1)
    },
  }
}
