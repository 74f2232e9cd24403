/** Three parsers that share no code with the kit read the bytes of a stream. */
import { getLines, getMessages } from '@microsoft/fetch-event-source/lib/cjs/parse.js'
import { createParser } from 'eventsource-parser'
import { EventSourceStream } from 'undici/lib/web/eventsource/eventsource-stream.js'

export interface ParsedEvent {
  readonly type: string
  readonly data: string
  /** The id in the event's block. '': none. */
  readonly id: string
}

function byEventSourceParser(bytes: Buffer): ParsedEvent[] {
  const events: ParsedEvent[] = []
  const onEvent = ({
    event = 'message',
    data,
    id = '',
  }: {
    event?: string | undefined
    data: string
    id?: string | undefined
  }) => void events.push({ type: event, data, id })
  createParser({ onEvent }).feed(bytes.toString())
  return events
}

function byUndici(bytes: Buffer): ParsedEvent[] {
  const events: ParsedEvent[] = []
  let last = ''
  const stream = new EventSourceStream({
    push: ({ type, options }) => {
      const id = options.lastEventId ?? ''
      // It repeats the last id on events without one.
      events.push({ type, data: options.data, id: id === last ? '' : id })
      last = id
      return true
    },
  })
  stream._transform(bytes, 'buffer', () => undefined)
  return events
}

function byFetchEventSource(bytes: Buffer): ParsedEvent[] {
  const events: ParsedEvent[] = []
  const onMessage = getMessages(
    () => undefined,
    () => undefined,
    ({ event, data, id }) => {
      // It reports comments as events without data.
      if (event !== '' || data !== '' || id !== '') events.push({ type: event || 'message', data, id })
    },
  )
  getLines(onMessage)(new Uint8Array(bytes))
  return events
}

interface Reading {
  readonly parse: (bytes: Buffer) => ParsedEvent[]
  /** An event as this parser reads it (docs/interop.md). `undefined`: it does not report the event. */
  readonly expected?: (event: ParsedEvent, previousId: string) => ParsedEvent | undefined
}

/** It decodes each value by itself, and so drops a byte order mark from each. */
function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, '')
}

export const PARSERS: Readonly<Record<string, Reading>> = {
  'eventsource-parser': { parse: byEventSourceParser },
  undici: {
    parse: byUndici,
    expected: (event, previousId) => (event.id === previousId ? { ...event, id: '' } : event),
  },
  'fetch-event-source': {
    parse: byFetchEventSource,
    expected: ({ type, data, id }) => {
      const lines = data.split('\n').map(withoutMark).join('\n').replace(/^\n+/, '')
      // Without any value it is like a comment.
      const name = withoutMark(type) || 'message'
      const isEmpty = name === 'message' && lines === '' && id === ''
      return isEmpty ? undefined : { type: name, data: lines, id: withoutMark(id) }
    },
  },
}
