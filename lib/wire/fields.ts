/**
 * The fields of the event stream format (WHATWG HTML, 9.2.5 and 9.2.6). Owns that no value can add a field or end a
 * block: a field ends at CRLF, LF or CR. Clients ignore an `id` with NUL.
 */
import { InvalidEventError } from '../core/errors.js'

const FIELD_BREAK = /[\r\n\0]/
const LINE_END = /\r\n|\r|\n/

/**
 * One line `name: value`.
 * @throws InvalidEventError for CR, LF or NUL: clients would read the rest as another field, or ignore the field
 */
export function fieldLine(name: 'event' | 'id', value: string): string {
  if (typeof value !== 'string') throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `${name} must be a string`)
  if (FIELD_BREAK.test(value)) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `${name} must not contain CR, LF or NUL`)
  }
  return `${name}: ${value}\n`
}

/** The line `retry: <ms>`. Clients ignore a value that is not all digits. @throws InvalidEventError */
export function retryLine(retryMs: number): string {
  if (!Number.isSafeInteger(retryMs) || retryMs < 0) {
    throw new InvalidEventError('ERR_SSE_EVENT_INVALID', `retry must be a whole number of ms from 0, got ${retryMs}`)
  }
  return `retry: ${retryMs}\n`
}

/** One `data:` line for each line of the data. Clients join the lines with LF. */
export function dataLines(data: string): string {
  // The common case, JSON, has no line end. `includes` is much cheaper than `split`.
  if (!data.includes('\n') && !data.includes('\r')) return `data: ${data}\n`
  let lines = ''
  for (const line of data.split(LINE_END)) lines += `data: ${line}\n`
  return lines
}

/**
 * A comment block. The text is split at line ends, so no part of it can be read as a field.
 * @throws InvalidEventError unless the text is a string
 */
export function commentBlock(text: string): Buffer {
  if (typeof text !== 'string') throw new InvalidEventError('ERR_SSE_EVENT_INVALID', 'A comment must be a string')
  let block = ''
  for (const line of text.split(LINE_END)) block += `: ${line}\n`
  return Buffer.from(`${block}\n`)
}
