import { expect } from 'chai'
import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import { EventSourceStream } from 'undici/lib/web/eventsource/eventsource-stream.js'
import type { SseEvent } from '../../lib/core/message.js'
import { openText, reconnectBlock } from '../../lib/wire/control.js'
import { decodeEvent, encodeEvent, encodeOwnEvent, encodePublished, isEncodedEvent } from '../../lib/wire/encode.js'
import { commentBlock } from '../../lib/wire/fields.js'

interface Parsed {
  readonly event: string
  readonly data: string
  readonly id: string
}

/** eventsource-parser, on text; the bytes are decoded when they arrive. */
function parseAsText(chunks: readonly Uint8Array[]): Parsed[] {
  const parsed: Parsed[] = []
  const parser = createParser({
    onEvent: ({ event = '', data, id = '' }) => parsed.push({ event, data, id }),
    onError: (error) => expect.fail(`the parser objected: ${error.message}`),
  })
  const decoder = new TextDecoder()
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }))
  return parsed
}

/** The parser of undici's EventSource, on bytes: an independent implementation of the format. */
function parseAsBytes(chunks: readonly Uint8Array[]): Parsed[] {
  const parsed: Parsed[] = []
  const parser = new EventSourceStream({
    push: ({ type, options: { data, lastEventId } }) => {
      parsed.push({ event: type === 'message' ? '' : type, data, id: lastEventId ?? '' })
      return true
    },
  })
  for (const chunk of chunks) parser._transform(Buffer.from(chunk), 'buffer', () => undefined)
  return parsed
}

/** Any text that can be encoded in UTF-8, with frequent line ends, colons, spaces, NUL and BOM. */
const text = fc
  .array(
    fc.oneof(
      fc.constantFrom('\n', '\r', '\r\n', '\n\n', ':', ' ', 'data: ', '\0', '\uFEFF', '🙂', 'é'),
      fc.string({ unit: 'binary' }),
    ),
  )
  .map((parts) => parts.join(''))
const field = text.map((value) => value.replace(/[\r\n\0]/g, ''))
const anyEvent: fc.Arbitrary<SseEvent> = fc.record(
  {
    data: fc.oneof(
      text,
      fc.jsonValue().filter((value) => typeof value !== 'string'),
    ),
    event: field.filter((name) => !name.startsWith('sse.') && name !== 'message'),
    id: field,
    retry: fc.nat(),
  },
  { requiredKeys: ['data'] },
)

/** The data that a client must read according to WHATWG: every line end is one LF. */
function seen({ event = '', data, id = '' }: SseEvent): Parsed {
  const sent = typeof data === 'string' ? data : JSON.stringify(data)
  return { event, data: sent.replace(/\r\n|\r/g, '\n'), id }
}

function cutEverywhere(bytes: Buffer): Uint8Array[][] {
  const cuts = Array.from({ length: bytes.length + 1 }, (_, at) => [bytes.subarray(0, at), bytes.subarray(at)])
  return [...cuts, Array.from(bytes, (byte) => Uint8Array.of(byte))]
}

describe('an encoded event', () => {
  for (const [name, parse] of [
    ['eventsource-parser', parseAsText],
    ['undici', parseAsBytes],
  ] as const) {
    it(`is read by ${name} unchanged, at any cut of its bytes`, () => {
      fc.assert(
        fc.property(anyEvent, (event) => {
          const { body } = encodeOwnEvent(event)
          for (const chunks of cutEverywhere(body)) {
            expect(parse(chunks)).to.deep.equal([seen(event)])
          }
        }),
        { numRuns: 150 },
      )
    })
  }

  it('is decoded for polls as a parser on a stream reads it', () => {
    fc.assert(
      fc.property(anyEvent, ({ id: _, ...event }) => {
        const { body } = encodeEvent(event)
        const [parsed] = parseAsText([body])
        expect(decodeEvent(body)).to.deep.equal({ event: parsed?.event || 'message', data: parsed?.data })
      }),
      { numRuns: 500 },
    )
  })

  it('stays one event among others, with any content', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 10 }), (events) => {
        const bytes = Buffer.concat(
          events.flatMap((event) => [encodeOwnEvent(event).body, commentBlock(event.event ?? 'c\r\nd')]),
        )
        expect(parseAsText([bytes])).to.deep.equal(events.map(seen))
      }),
    )
  })

  it('is refused with a code if it cannot be encoded', () => {
    const circular: Record<string, unknown> = {}
    circular.self = circular
    const wrong: readonly [string, unknown][] = [
      ['no object', null],
      ['no data', {}],
      ['a function as data', { data: () => 1 }],
      ['a bigint', { data: 1n }],
      ['a circle', { data: circular }],
      ['LF in the event', { data: 1, event: 'a\nb' }],
      ['CR in the event', { data: 1, event: 'a\rb' }],
      ['NUL in the event', { data: 1, event: 'a\0b' }],
      ['LF in the id', { data: 1, id: 'a\nb' }],
      ['NUL in the id', { data: 1, id: '\0' }],
      ['a number as id', { data: 1, id: 5 }],
      ['a number as event', { data: 1, event: 5 }],
      ['a reserved event', { data: 1, event: 'sse.reset' }],
      ['a negative retry', { data: 1, retry: -1 }],
      ['a text as retry', { data: 1, retry: '1\ndata: x' }],
      ['an unknown priority', { data: 1, priority: 'urgent' }],
      ['a number as key', { data: 1, key: 1 }],
      ['half a surrogate pair as key', { data: 1, key: '\uD800' }],
      ['a key of more than 1,024 characters', { data: 1, key: 'k'.repeat(1025) }],
      ['ttlMs 0', { data: 1, ttlMs: 0 }],
    ]
    for (const [name, event] of wrong) {
      expect(() => encodeOwnEvent(event as SseEvent), name)
        .to.throw()
        .with.property('code', 'ERR_SSE_EVENT_INVALID')
    }
    expect(() => encodePublished({ data: 1, id: 'x' }))
      .to.throw()
      .with.property('code', 'ERR_SSE_EVENT_INVALID')
  })

  it('keeps the reason why the data could not be encoded', () => {
    try {
      encodeEvent({ data: 1n })
      expect.fail('it was written')
    } catch (error) {
      expect((error as Error).cause).to.be.instanceOf(TypeError)
    }
  })

  it('is measured after encoding, in bytes', () => {
    expect(encodeEvent({ data: 'é'.repeat(46) }, 100).body).to.have.length(100)
    expect(() => encodeEvent({ data: 'é'.repeat(47) }, 100))
      .to.throw()
      .with.property('code', 'ERR_SSE_EVENT_TOO_LARGE')
  })
})

describe('a control block', () => {
  it('opens a stream with retry, position and data, in this order', () => {
    expect(openText({ stream: 's', heartbeatMs: 25_000 }, 3000, 'abc123-4')).to.equal(
      'retry: 3000\nid: abc123-4\nevent: sse.open\ndata: {"stream":"s","heartbeatMs":25000}\n\n',
    )
  })

  it('changes no cursor otherwise', () => {
    expect(parseAsText([reconnectBlock('max_age', 100).bytes])).to.deep.equal([
      { event: 'sse.reconnect', data: '{"reason":"max_age","afterMs":100}', id: '' },
    ])
  })
})

describe('bytes of an event that another program may have written', () => {
  it('are recognised as an event if they were encoded from one', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: 'binary' }).filter((name) => !/[\r\n\0]/.test(name) && !name.startsWith('sse.')),
        fc.option(fc.nat()),
        (data, event, retry) => {
          const { body } = encodeEvent({ data, event, ...(retry !== null && { retry }) })
          expect(isEncodedEvent(body)).to.equal(true)
          expect(isEncodedEvent(body.subarray(0, -1))).to.equal(false)
          expect(isEncodedEvent(Buffer.concat([body, body]))).to.equal(false)
        },
      ),
    )
  })

  for (const text of [
    '',
    '\n',
    '\n\n',
    'data: x',
    'data: x\n',
    'data:x\n\n',
    'x\n\n',
    ':\n\n',
    'id: 1\ndata: x\n\n',
    'data: x\nid: 1\n\n',
    'data: x\nevent: y\n\n',
    'data: x\r\n\n',
    'event: x\n\n',
    'event: sse.close\ndata: x\n\n',
    'event: a\0\ndata: x\n\n',
    'event: a\nevent: b\ndata: x\n\n',
    'retry: x\ndata: x\n\n',
    'data: x\n\ndata: y\n\n',
    'data: x\n\n\n',
  ]) {
    it(`are not recognised as an event: ${JSON.stringify(text)}`, () => {
      expect(isEncodedEvent(Buffer.from(text))).to.equal(false)
    })
  }
})
