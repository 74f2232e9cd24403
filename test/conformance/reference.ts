/**
 * How the standard has a client read a stream (HTML, 9.2.5 and 9.2.6), on the whole of it at once: slow, and as plain
 * as its text. What the kit's client and Chromium make of bytes that come in pieces is held against this.
 */
import type { Seen } from '../interop/script.js'

export interface Reading {
  readonly events: readonly Seen[]
  /** The last event id when the stream ends, which the next request says. */
  readonly id: string
  /** The last `retry:` that counts. */
  readonly retry: number | undefined
}

/** @param id the last event id when the stream begins */
export function readWhole(bytes: Uint8Array, id = ''): Reading {
  const events: Seen[] = []
  let lastId = id
  let retry: number | undefined
  let [type, data, idBuffer] = ['', '', id]
  // "UTF-8 decode" takes one byte order mark off the beginning, and so does this.
  const lines = new TextDecoder().decode(bytes).split(/\r\n|\n|\r/)
  // Behind the last line end there is no line, and a block without its empty line is none.
  for (const line of lines.slice(0, -1)) {
    if (line === '') {
      lastId = idBuffer
      if (data !== '') events.push({ type: type || 'message', data: data.slice(0, -1), id: lastId })
      data = ''
      type = ''
      continue
    }
    const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line) as unknown as [string, string, string]
    if (field === 'event') type = value
    if (field === 'data') data += `${value}\n`
    if (field === 'id' && !value.includes('\0')) idBuffer = value
    if (field === 'retry' && /^[0-9]+$/.test(value)) retry = Number(value)
  }
  return { events, id: lastId, retry }
}
