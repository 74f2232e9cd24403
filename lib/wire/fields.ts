/**
 * The rules of the event stream format (WHATWG HTML, 9.2.5 and 9.2.6) that keep one event from becoming two.
 * A field ends at CRLF, LF or CR; an `id` with NUL is ignored by every client.
 */
import { InvalidEventError } from '../core/errors.js'

const FIELD_BREAK = /[\r\n\0]/
const LINE_END = /\r\n|\r|\n/

/** One line `name: value`. @throws InvalidEventError for CR, LF or NUL: the rest would be read as another field. */
export function fieldLine(name: 'event' | 'id', value: string): string {
  if (typeof value !== 'string') throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `${name} must be a string`)
  if (FIELD_BREAK.test(value)) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `${name} must not contain CR, LF or NUL`)
  }
  return `${name}: ${value}\n`
}

/** `retry: <ms>`: digits only, or clients ignore it. @throws InvalidEventError */
export function retryLine(retryMs: number): string {
  if (!Number.isSafeInteger(retryMs) || retryMs < 0) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `retry must be a whole number of ms from 0, got ${retryMs}`)
  }
  return `retry: ${retryMs}\n`
}

/** The data, one `data:` line for each of its lines: the client joins them with LF again. */
export function dataLines(data: string): string {
  // The common case, JSON, has no line end; `includes` is far cheaper than a split.
  if (!data.includes('\n') && !data.includes('\r')) return `data: ${data}\n`
  let lines = ''
  for (const line of data.split(LINE_END)) lines += `data: ${line}\n`
  return lines
}

/** A comment block. Line ends split it, so that none of it can be read as a field. */
export function commentBlock(text: string): Buffer {
  let block = ''
  for (const line of text.split(LINE_END)) block += `: ${line}\n`
  return Buffer.from(`${block}\n`)
}
