/** The events that the server sends to every client, and how a client must read them according to the standard. */
import type { SseEvent } from '../../lib/core/message.js'

/** An event as a client passes it on. */
export interface Seen {
  readonly type: string
  readonly data: string
  /** The client's last event id when it passed the event on. */
  readonly id: string
  /** The event itself had no id, so `id` is that of the event before. */
  readonly inherited?: true
}

export const SCRIPT: readonly SseEvent[] = [
  { event: 'named', data: 'plain ASCII' },
  { data: 'without a name' },
  { event: 'message', data: 'with the name of those without' },
  { event: 'größe', data: 'of two bytes: é, of three: 世界, of four: 𝄞 👩‍👩‍👧‍👦' },
  { event: 'named', data: 'CR\rLF\nCRLF\r\nend' },
  { event: 'named', data: '\n\r\r\nline ends before, and after\r\n\n' },
  { event: 'named', data: '\n' },
  { event: 'named', data: '' },
  { event: 'named', data: '  blanks kept  ' },
  { event: 'named', data: '\uFEFFa byte order mark' },
  { event: 'named', data: 'event: other\ndata: no field\nid: 1-1\nretry: 0\n: no comment\n\nno second event' },
  { event: 'named', data: `large: ${'0123456789 👋 '.repeat(12_500)}` },
  { event: 'json', data: { nested: ['{"', '\n', '\u2028'] } },
]

/** Has no position. Publish it separately: it may overtake events of the same tick that have one. */
export const EPHEMERAL: SseEvent = { event: 'named', data: 'without a position', ephemeral: true }

/** Every event name of the tests: an EventSource receives only events with a listener. */
export const TYPES: readonly string[] = [
  ...new Set(['n', ...SCRIPT.map(({ event = 'message' }) => event)]),
  'sse.open',
  'sse.reset',
  'sse.reconnect',
  'sse.heartbeat',
]

/** @param position `undefined` for an event without one @param last the id of the event before */
export function read({ event = 'message', data }: SseEvent, position: string | undefined, last: string): Seen {
  const text = typeof data === 'string' ? data.replaceAll(/\r\n|\r/g, '\n') : JSON.stringify(data)
  return position === undefined
    ? { type: event, data: text, id: last, inherited: true }
    : { type: event, data: text, id: position }
}

/** The event without `inherited`, as the adapters record it. */
export function plain({ type, data, id }: Seen): Seen {
  return { type, data, id }
}
