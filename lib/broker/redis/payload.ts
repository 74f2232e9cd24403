/**
 * The format of events in Redis: one short line with what the queue policies need, then the bodies, which are never
 * parsed. The publish script only adds the position in front.
 *
 *   payload           [ `@<time>;` ] `<item>` { `;` `<item>` } [ `;!` ] LF { `<body>` }     the events of one call
 *                     `!`: the log ends after them; there may be no items then
 *   time              when the call was sent, in ms since 1970 by the publisher's clock, in base 36; informative
 *   item              [ `~` ] `<bytes of the body> <priority letter> <ttlMs or 0> <key>` [ ` <trace>` ]
 *                     `~`: ephemeral, without an offset; the trace is absent if the event is not traced
 *   pub/sub message   `<epoch> <offset of the first event>` LF `<payload>`
 *   stream entry      id `<offset of the last event>-0`, field p = payload
 */
import type { EncodedEvent, LogEntry, Priority } from '../../core/message.js'
import { isEpoch, MAX_OFFSET, type Position } from '../../core/position.js'
import { isEncodedEvent } from '../../wire/encode.js'

const LF = 0x0a
const LETTERS: Readonly<Record<Priority, string>> = { high: 'h', normal: 'n', low: 'l' }
const PRIORITIES: Readonly<Record<string, Priority>> = { h: 'high', n: 'normal', l: 'low' }
const ITEM = /^(~?)(\d{1,10}) ([hnl]) (\d{1,16}) (\S*)(?: (\S+))?$/
const END = '!'
const TIME = /^@([0-9a-z]{1,10})$/

/**
 * A string, because ioredis writes a command whose arguments are all strings in one piece. One with buffers it copies
 * argument by argument, which costs several times as much (bench `sparse`).
 * @param now in ms since 1970
 */
export function printPayload(events: readonly EncodedEvent[], now: number, ends = false): string {
  let line = `@${Math.floor(now).toString(36)}`
  let bodies = ''
  for (const { body, priority, ttlMs, key, ephemeral, trace } of events) {
    line += `;${ephemeral ? '~' : ''}${body.length} ${LETTERS[priority]} ${ttlMs ?? 0} ${key ?? ''}`
    if (trace !== undefined) line += ` ${trace}`
    bodies += body.toString()
  }
  return `${line}${ends ? `;${END}` : ''}\n${bodies}`
}

/** The pub/sub message of ephemeral events. They need no script, because they enter no log. */
export function ephemeralMessage(events: readonly EncodedEvent[], now: number): string {
  return `- 1\n${printPayload(events, now)}`
}

/** The events of a pub/sub message, and where the log has ended, if it has. */
export interface Message {
  readonly entries: readonly LogEntry[]
  readonly end: Position | undefined
}

/** @returns `undefined` for a message that the kit did not write */
export function parseMessage(message: Buffer): Message | undefined {
  const lineEnd = message.indexOf(LF)
  if (lineEnd === -1) return undefined
  const [epoch = '', first = '', rest] = message.toString('latin1', 0, lineEnd).split(' ')
  if (!/^\d{1,16}$/.test(first) || rest !== undefined) return undefined
  const payload = parsePayload(epoch, message.subarray(lineEnd + 1), () => Number(first))
  if (payload === undefined) return undefined
  const { entries, ends, next } = payload
  // The id of an event is its epoch and offset.
  if (!isEpoch(epoch) && (ends || entries.some(({ offset }) => offset > 0))) return undefined
  return { entries, end: ends ? { epoch, offset: next - 1 } : undefined }
}

/**
 * The log entries in one stream entry. @param last the offset of the last one
 * @returns `undefined` for an entry that the kit did not write
 */
export function parseLogged(epoch: string, last: number, payload: Buffer): readonly LogEntry[] | undefined {
  return parsePayload(epoch, payload, (count) => last - count + 1)?.entries
}

interface Payload {
  readonly entries: readonly LogEntry[]
  readonly ends: boolean
  /** The offset after the entries. */
  readonly next: number
}

/** @param firstOf returns the offset of the first event, given the number of events */
function parsePayload(epoch: string, payload: Buffer, firstOf: (count: number) => number): Payload | undefined {
  const lineEnd = payload.indexOf(LF)
  if (lineEnd === -1) return undefined
  const bodies = compact(payload.subarray(lineEnd + 1))
  const items = payload.toString('latin1', 0, lineEnd).split(';')
  const time = TIME.exec(items[0] ?? '')?.[1]
  if (time !== undefined) items.shift()
  const ends = items.at(-1) === END
  if (ends) items.pop()
  const publishedAt = time === undefined ? undefined : Number.parseInt(time, 36)
  const entries: LogEntry[] = []
  let offset = firstOf(items.length)
  if (!(offset >= 1 && offset + items.length <= MAX_OFFSET)) return undefined
  let start = 0
  for (const item of items) {
    const [, ephemeral, bytes, letter = '', ttl, key, trace] = ITEM.exec(item) ?? []
    const end = start + Number(bytes)
    const body = bodies.subarray(start, end)
    if (!(end > start) || !isEncodedEvent(body)) return undefined
    entries.push({
      epoch,
      offset: ephemeral ? 0 : offset++,
      body,
      priority: PRIORITIES[letter] ?? 'normal',
      key: key || undefined,
      ttlMs: Number(ttl) || undefined,
      publishedAt,
      trace,
    })
    start = end
  }
  return start === bodies.length ? { entries, ends, next: offset } : undefined
}

/** Copies bodies that are a small part of a large network read, because a slice keeps the entire read in memory. */
function compact(bodies: Buffer): Buffer {
  return bodies.buffer.byteLength > 4 * bodies.length ? Buffer.from(bodies) : bodies
}
