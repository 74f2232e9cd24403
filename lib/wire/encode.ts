/**
 * publish ─► **encode once** ─► broker ─► …: the only place where an event becomes bytes. The `id:` line is added
 * later, because the id of a published event is its position, which the log assigns.
 */
import { InvalidEventError } from '../core/errors.js'
import type { EncodedEvent, Priority, SseEvent } from '../core/message.js'
import { dataLines, fieldLine, retryLine } from './fields.js'

const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']

/** The default maximum size of an encoded event: 1 MiB. */
export const MAX_EVENT_BYTES = 1_048_576
const MAX_KEY_LENGTH = 1024

/**
 * Limits of `publishMany`: the log stores all its events as one entry, and one message carries them to all processes.
 */
const MAX_BATCH_EVENTS = 1000
const MAX_BATCH_EVENT_SIZES = 8

/**
 * Encodes an event without its `id`.
 * @throws InvalidEventError `ERR_SSE_EVENT_INVALID`, `ERR_SSE_EVENT_TOO_LARGE`
 */
export function encodeEvent(event: SseEvent, maxEventBytes: number = MAX_EVENT_BYTES): EncodedEvent {
  if (event === null || typeof event !== 'object') throw invalid('An event must be an object { event?, data, … }')
  const { event: name, data, retry, priority = 'normal', key, ttlMs, ephemeral = false } = event
  let block = ''
  if (retry !== undefined) block += retryLine(retry)
  if (name !== undefined && name !== '') block += eventLine(name)
  block += `${dataLines(serialize(data))}\n`
  if (!PRIORITIES.includes(priority)) throw invalid(`priority must be one of ${PRIORITIES.join(', ')}`)
  if (key !== undefined && (typeof key !== 'string' || !key.isWellFormed() || key.length > MAX_KEY_LENGTH)) {
    throw invalid(`key must be a well-formed string of at most ${MAX_KEY_LENGTH} characters`)
  }
  if (ttlMs !== undefined && !(Number.isSafeInteger(ttlMs) && ttlMs > 0)) {
    throw invalid(`ttlMs must be a whole number of ms from 1, got ${ttlMs}`)
  }
  const body = Buffer.from(block)
  assertFits(body, maxEventBytes)
  return { body, priority, key: key === undefined ? undefined : encodeURIComponent(key), ttlMs, ephemeral }
}

/** The fields of an encoded event as clients read them. The inverse of `encodeEvent`. */
export function decodeEvent(body: Buffer): { readonly event: string; readonly data: string } {
  let event = 'message'
  let data: string | undefined
  for (const line of body.toString().split('\n')) {
    if (line.startsWith('data: ')) data = data === undefined ? line.slice(6) : `${data}\n${line.slice(6)}`
    else if (line.startsWith('event: ')) event = line.slice(7)
  }
  return { event, data: data ?? '' }
}

const [LF, CR, NUL] = [0x0a, 0x0d, 0]
const [RETRY, EVENT, DATA] = ['retry: ', 'event: ', 'data: '].map((field) => Buffer.from(field)) as [
  Buffer,
  Buffer,
  Buffer,
]
const RESERVED = Buffer.from('event: sse.')

/**
 * Whether `encodeEvent` could have written these bytes. Any others could add ids, control events or fields to the
 * streams of a channel, or run into the next event.
 */
export function isEncodedEvent(body: Buffer): boolean {
  if (body.includes(CR)) return false
  let start = 0
  if (beginsWith(RETRY, body, start)) {
    const end = nextLine(body, start)
    if (!/^\d+\n$/.test(body.toString('latin1', start + RETRY.length, end))) return false
    start = end
  }
  if (beginsWith(EVENT, body, start)) {
    const end = nextLine(body, start)
    if (beginsWith(RESERVED, body, start) || body.subarray(start, end).includes(NUL)) return false
    start = end
  }
  if (!beginsWith(DATA, body, start)) return false
  while (beginsWith(DATA, body, start)) start = nextLine(body, start)
  return start === body.length - 1 && body[start] === LF
}

function beginsWith(field: Buffer, body: Buffer, start: number): boolean {
  for (let i = 0; i < field.length; i++) if (body[start + i] !== field[i]) return false
  return true
}

/** Where the next line begins; beyond the end of the body if this line does not end. */
function nextLine(body: Buffer, start: number): number {
  const end = body.indexOf(LF, start)
  return end === -1 ? body.length + 1 : end + 1
}

/** Encodes an event with the id that the application gave it, for streams without a log. */
export function encodeOwnEvent(event: SseEvent, maxEventBytes: number = MAX_EVENT_BYTES): EncodedEvent {
  const encoded = encodeEvent(event, maxEventBytes)
  if (event.id === undefined) return encoded
  const body = Buffer.concat([Buffer.from(fieldLine('id', event.id)), encoded.body])
  assertFits(body, maxEventBytes)
  return { ...encoded, body }
}

function assertFits({ length }: Buffer, maxEventBytes: number): void {
  if (length <= maxEventBytes) return
  throw new InvalidEventError(
    'ERR_SSE_EVENT_TOO_LARGE',
    `The encoded event has ${length} bytes, more than maxEventBytes (${maxEventBytes})`,
  )
}

/** Encodes an event for a log. @throws InvalidEventError also for an `id`, which would replace the position */
export function encodePublished(event: SseEvent, maxEventBytes?: number): EncodedEvent {
  const encoded = encodeEvent(event, maxEventBytes)
  if (event.id !== undefined) {
    throw invalid('A published event must not have an id: its id is its position in the log')
  }
  return encoded
}

/**
 * Encodes events that are published as one step.
 * @throws InvalidEventError with the index of the invalid event; or if there are too many events or too many bytes
 */
export function encodeBatch(events: readonly SseEvent[], maxEventBytes: number): readonly EncodedEvent[] {
  if (!Array.isArray(events)) throw invalid('publishMany needs an array of events')
  if (events.length > MAX_BATCH_EVENTS) {
    throw new InvalidEventError(
      'ERR_SSE_EVENT_TOO_LARGE',
      `publishMany takes at most ${MAX_BATCH_EVENTS} events, got ${events.length}`,
    )
  }
  let bytes = 0
  const encoded = events.map((event, index) => {
    try {
      const one = encodePublished(event, maxEventBytes)
      bytes += one.body.length
      return one
    } catch (error) {
      if (!(error instanceof InvalidEventError)) throw error
      throw new InvalidEventError(error.code, `events[${index}]: ${error.message}`, { cause: error })
    }
  })
  if (bytes > MAX_BATCH_EVENT_SIZES * maxEventBytes) {
    throw new InvalidEventError(
      'ERR_SSE_EVENT_TOO_LARGE',
      `The encoded events have ${bytes} bytes, more than ${MAX_BATCH_EVENT_SIZES} × maxEventBytes (${maxEventBytes})`,
    )
  }
  return encoded
}

function eventLine(name: string): string {
  const line = fieldLine('event', name)
  if (name.startsWith('sse.'))
    throw invalid(`Event names that start with "sse." are reserved for the kit, got "${name}"`)
  return line
}

function serialize(data: unknown): string {
  if (typeof data === 'string') return data
  let json: string | undefined
  try {
    json = JSON.stringify(data)
  } catch (cause) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', 'data cannot be serialized as JSON', { cause })
  }
  if (json === undefined) throw invalid(`data must be a string or a value that JSON can express, got ${typeof data}`)
  return json
}

function invalid(message: string): InvalidEventError {
  return new InvalidEventError('ERR_SSE_EVENT_INVALID', message)
}
