/**
 * publish ─► encode once ─► …: an event becomes bytes here, and nowhere else is one built again. The `id:` line is put
 * in front later, because a published event's id is its position, which the log assigns.
 */
import { InvalidEventError } from '../core/errors.js'
import type { EncodedEvent, Priority, SseEvent } from '../core/message.js'
import { dataLines, fieldLine, retryLine } from './fields.js'

const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']

/** The default bound of an encoded event: 1 MiB. */
export const MAX_EVENT_BYTES = 1_048_576

/** What can be published as one step: a log keeps it as one entry, and one message carries it to all processes. */
const MAX_BATCH_EVENTS = 1000
const MAX_BATCH_EVENT_SIZES = 8

/**
 * Encodes all of an event but its `id`.
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
  if (key !== undefined && (typeof key !== 'string' || !key.isWellFormed())) {
    throw invalid('key must be a well-formed string')
  }
  if (ttlMs !== undefined && !(Number.isSafeInteger(ttlMs) && ttlMs > 0)) {
    throw invalid(`ttlMs must be a whole number of ms from 1, got ${ttlMs}`)
  }
  const body = Buffer.from(block)
  if (body.length > maxEventBytes) {
    throw new InvalidEventError(
      'ERR_SSE_EVENT_TOO_LARGE',
      `The event has ${body.length} bytes, over maxEventBytes ${maxEventBytes}`,
    )
  }
  return { body, priority, key: key === undefined ? undefined : encodeURIComponent(key), ttlMs, ephemeral }
}

/** Encodes an event with the id its caller gave it, for streams that are not on a log. */
export function encodeOwnEvent(event: SseEvent, maxEventBytes?: number): EncodedEvent {
  const encoded = encodeEvent(event, maxEventBytes)
  if (event.id === undefined) return encoded
  return { ...encoded, body: Buffer.concat([Buffer.from(fieldLine('id', event.id)), encoded.body]) }
}

/** Encodes an event for a log. @throws InvalidEventError also for an `id`, which would hide the position */
export function encodePublished(event: SseEvent, maxEventBytes?: number): EncodedEvent {
  const encoded = encodeEvent(event, maxEventBytes)
  if (event.id !== undefined) {
    throw invalid('A published event must not have an id: its id on the wire is its position in the log')
  }
  return encoded
}

/**
 * Encodes events to be published as one step.
 * @throws InvalidEventError naming the index of the event that is wrong, or if they are too many or too large together
 */
export function encodeBatch(events: readonly SseEvent[], maxEventBytes: number): readonly EncodedEvent[] {
  if (!Array.isArray(events)) throw invalid('publishMany takes an array of events')
  if (events.length > MAX_BATCH_EVENTS) {
    throw new InvalidEventError(
      'ERR_SSE_EVENT_TOO_LARGE',
      `${events.length} events are more than the ${MAX_BATCH_EVENTS} that can be published as one step`,
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
      `The events have ${bytes} bytes together, over ${MAX_BATCH_EVENT_SIZES} × maxEventBytes ${maxEventBytes}`,
    )
  }
  return encoded
}

function eventLine(name: string): string {
  const line = fieldLine('event', name)
  if (name.startsWith('sse.')) throw invalid(`Event names that start with "sse." belong to the kit, got "${name}"`)
  return line
}

function serialize(data: unknown): string {
  if (typeof data === 'string') return data
  let json: string | undefined
  try {
    json = JSON.stringify(data)
  } catch (cause) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', 'data cannot be written as JSON', { cause })
  }
  if (json === undefined) throw invalid(`data must be a string or JSON, got ${typeof data}`)
  return json
}

function invalid(message: string): InvalidEventError {
  return new InvalidEventError('ERR_SSE_EVENT_INVALID', message)
}
