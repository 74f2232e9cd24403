/**
 * An entry as Redis carries it: flags that policies need, in one short line, and the frame, which is never parsed.
 *
 *   pub/sub message   `<epoch> <offset> <flags>` LF `<frame>`
 *   flags             `<priority letter> <ttlMs or 0> <key>`
 */
import type { EncodedEvent, LogEntry, Priority } from '../../core/message.js'

const LF = 0x0a
const LETTERS: Readonly<Record<Priority, string>> = { high: 'h', normal: 'n', low: 'l' }
const PRIORITIES: Readonly<Record<string, Priority>> = { h: 'high', n: 'normal', l: 'low' }
const DEFAULT_FLAGS = 'n 0 '

export function printFlags({ priority, ttlMs, key }: EncodedEvent): string {
  return `${LETTERS[priority]} ${ttlMs ?? 0} ${key ?? ''}`
}

/** The pub/sub message of an ephemeral event, which no script writes because it has no place in the log. */
export function ephemeralMessage(event: EncodedEvent): Buffer {
  return Buffer.concat([Buffer.from(`- 0 ${printFlags(event)}\n`), event.body])
}

/** @returns `undefined` for what the kit did not write */
export function parseMessage(message: Buffer): LogEntry | undefined {
  const lineEnd = message.indexOf(LF)
  if (lineEnd === -1) return undefined
  const line = message.toString('latin1', 0, lineEnd)
  const epochEnd = line.indexOf(' ')
  const offsetEnd = line.indexOf(' ', epochEnd + 1)
  const offset = Number(line.slice(epochEnd + 1, offsetEnd))
  if (epochEnd < 1 || offsetEnd === -1 || !Number.isSafeInteger(offset)) return undefined
  return entryOf(line.slice(0, epochEnd), offset, compact(message.subarray(lineEnd + 1)), line.slice(offsetEnd + 1))
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
function compact(frame: Buffer): Buffer {
  return frame.buffer.byteLength > 4 * frame.length ? Buffer.from(frame) : frame
}
