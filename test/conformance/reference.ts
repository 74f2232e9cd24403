/**
 * A reference implementation of the standard (HTML, 9.2.5 and 9.2.6). It reads a complete stream, slowly, and follows
 * the text of the standard. The tests compare the kit's client and Chromium, which read streams in pieces, with it.
 */
import type { Seen } from '../interop/script.js'

export interface Reading {
  readonly events: readonly Seen[]
  /** The last event id when the stream ends: the Last-Event-ID of the next request. */
  readonly id: string
  /** The last valid `retry:`. */
  readonly retry: number | undefined
}

/** @param id the last event id when the stream begins */
export function readWhole(bytes: Uint8Array, id = ''): Reading {
  const events: Seen[] = []
  let lastId = id
  let retry: number | undefined
  let [type, data, idBuffer] = ['', '', id]
  // Like "UTF-8 decode" of the standard, TextDecoder removes one byte order mark at the beginning.
  const lines = new TextDecoder().decode(bytes).split(/\r\n|\n|\r/)
  // Text after the last line end is not a line, and a block without its empty line is not a block.
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
