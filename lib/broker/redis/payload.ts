/**
 * Entries as Redis carries them: flags that policies need, in one short line, and the frames, which are never parsed.
 *
 *   pub/sub message   `<epoch>` { `;` `<offset> <frame's bytes> <flags>` } LF { `<frame>` }
 *   flags             `<priority letter> <ttlMs or 0> <key>`
 *
 * A message holds all events of one publish call; ephemeral ones have offset 0.
 */
import type { EncodedEvent, LogEntry, Priority } from '../../core/message.js'

const LF = 0x0a
const LETTERS: Readonly<Record<Priority, string>> = { high: 'h', normal: 'n', low: 'l' }
const PRIORITIES: Readonly<Record<string, Priority>> = { h: 'high', n: 'normal', l: 'low' }
const DEFAULT_FLAGS = 'n 0 '

export function printFlags({ priority, ttlMs, key }: EncodedEvent): string {
  return `${LETTERS[priority]} ${ttlMs ?? 0} ${key ?? ''}`
}

/** The pub/sub message of ephemeral events alone, which no script writes because they have no place in the log. */
export function ephemeralMessage(events: readonly EncodedEvent[]): Buffer {
  const items = events.map((event) => `;0 ${event.body.length} ${printFlags(event)}`)
  return Buffer.concat([Buffer.from(`-${items.join('')}\n`), ...events.map(({ body }) => body)])
}

/** @returns `undefined` for what the kit did not write */
export function parseMessage(message: Buffer): readonly LogEntry[] | undefined {
  const lineEnd = message.indexOf(LF)
  if (lineEnd === -1) return undefined
  const [epoch = '', ...items] = message.toString('latin1', 0, lineEnd).split(';')
  if (epoch === '' || items.length === 0) return undefined
  const frames = compact(message.subarray(lineEnd + 1))
  const entries: LogEntry[] = []
  let start = 0
  for (const item of items) {
    const offsetEnd = item.indexOf(' ')
    const lengthEnd = item.indexOf(' ', offsetEnd + 1)
    const offset = Number(item.slice(0, offsetEnd))
    const end = start + Number(item.slice(offsetEnd + 1, lengthEnd))
    if (lengthEnd === -1 || !Number.isSafeInteger(offset) || !(end > start)) return undefined
    entries.push(entryOf(epoch, offset, frames.subarray(start, end), item.slice(lengthEnd + 1)))
    start = end
  }
  return start === frames.length ? entries : undefined
}

export function entryOf(epoch: string, offset: number, frame: Buffer, flags: string): LogEntry {
  const bodyStart = offset === 0 ? 0 : frame.indexOf(LF) + 1
  if (flags === DEFAULT_FLAGS) {
    return { epoch, offset, frame, bodyStart, priority: 'normal', key: undefined, ttlMs: undefined }
  }
  const [letter = '', ttl = '', key = ''] = flags.split(' ')
  return {
    epoch,
    offset,
    frame,
    bodyStart,
    priority: PRIORITIES[letter] ?? 'normal',
    key: key === '' ? undefined : key,
    ttlMs: Number(ttl) || undefined,
  }
}

/** A small slice of a large network read, kept in a tail, would keep the whole read in memory. */
function compact(frames: Buffer): Buffer {
  return frames.buffer.byteLength > 4 * frames.length ? Buffer.from(frames) : frames
}
