/**
 * What comes of connections: which answers are streams, when and where a client returns, and what it says then. For each the standard,
 * and where a client differs, how and why: docs/interop.md is printed from that.
 */
import { type Answer, status } from '../client/recorded.js'
import type { RunOptions } from './clients.js'
import { broken, chunks, typed } from './script-server.js'

export type Conformer = 'kit' | 'kit, native' | 'Chromium'

interface Outcome {
  /** The data of each event, behind it the last event id. */
  readonly events: readonly string[]
  /** Where each request went, behind it its Last-Event-ID. The client is closed after the last of them. */
  readonly requests: readonly string[]
}

export interface Reason {
  readonly because: string
  /** For the page: in which cases, where that is not said best by the row's name. */
  readonly when?: string
}

type Difference = Partial<Outcome> & Reason

export interface ConnectionRow {
  readonly name: string
  /** After these the answer is 204, or none where the test closes the client. */
  readonly answers: readonly Answer[]
  readonly standard: Outcome
  readonly differs?: Readonly<Partial<Record<Conformer, Difference>>>
  readonly options?: Pick<RunOptions, 'closeAfter' | 'withToken'>
  /** How long the kit's client waits after the first answer, in ms. By native it does not see what it is told. */
  readonly waits?: readonly [least: number, most: number]
  /** The tokens of its requests, from the very first on. */
  readonly tokens?: readonly string[]
  /** The code of the kit's client, by `fetch`. */
  readonly code?: string
}

/** Also in parsing-rows.ts. */
export const HIDDEN: Reason = {
  when: 'An id without data',
  because: 'Not seen: EventSource shows its last event id with events alone.',
}

const A = chunks('data: a\n\n')
const ONCE: Outcome = { events: [], requests: ['stream'] }
const RETURNS: Outcome = { events: [], requests: ['stream', 'stream'] }
const READ: Outcome = { events: ['a'], requests: ['stream', 'stream'] }

const UNSEEN: Difference = {
  ...RETURNS,
  when: 'Any refusal, and any answer that is no stream',
  because: 'EventSource does not tell why it closed, so the client tries again, with back-off.',
}

function refusal(name: string, answer: Answer, code: string): ConnectionRow {
  return { name, answers: [answer], standard: ONCE, code, differs: { 'kit, native': UNSEEN } }
}

function mended(name: string, reason: Reason, answer: Answer, more: Partial<ConnectionRow> = {}): ConnectionRow {
  const kit = { ...RETURNS, ...reason }
  return { name, answers: [answer], standard: ONCE, differs: { kit, 'kit, native': UNSEEN }, ...more }
}

const MAY_PASS: Reason = {
  when: 'Status 408, 425, 429, 500 and above',
  because: 'It may pass. The client returns with back-off, and not before `Retry-After`.',
}
const EXPIRED: Reason = {
  when: 'Status 401',
  because: 'The token has run out. The client asks for a fresh one and returns, not before `tokenRetryMs`.',
}

const STATUSES: readonly ConnectionRow[] = [
  ...[204, 205, 206, 210, 299].map((code) => refusal(`status ${code}`, status(code), 'ERR_SSE_ENDED')),
  ...[400, 403, 404, 410, 418].map((code) => refusal(`status ${code}`, status(code), 'ERR_SSE_REFUSED')),
  mended('status 401', EXPIRED, status(401), {
    options: { withToken: true },
    waits: [3000, 3000],
    tokens: ['stale', 'stale', 'fresh'],
  }),
  ...[408, 425, 500, 502, 504].map((code) => mended(`status ${code}`, MAY_PASS, status(code))),
  ...[429, 503].map((code) =>
    mended(`status ${code} with Retry-After`, MAY_PASS, status(code, { 'retry-after': '1' }), { waits: [1000, 1000] }),
  ),
]

const TYPES: readonly ConnectionRow[] = [
  ...[
    'text/event-stream',
    'TEXT/Event-Stream',
    'text/event-stream;',
    'text/event-stream;charset=utf-8',
    'text/event-stream; charset=UTF-8',
    'text/event-stream; charset="utf-8"',
    'text/event-stream ; x=y',
  ].map((type) => ({ name: `type ${type}`, answers: [typed(type, 'data: a\n\n')], standard: READ })),
  {
    name: 'type text/event-stream; charset=windows-1252',
    answers: [typed('text/event-stream; charset=windows-1252', 'data: é\n\n')],
    standard: { ...READ, events: ['é'] },
    differs: {
      Chromium: {
        ...ONCE,
        when: 'Type `text/event-stream` with another charset than UTF-8',
        because: 'It refuses it; the standard reads UTF-8 whatever is said.',
      },
      'kit, native': {
        ...RETURNS,
        when: 'Type `text/event-stream` with another charset than UTF-8',
        because: 'As Chromium’s, and it tries again.',
      },
    },
  },
  ...[undefined, '', 'text', 'text/plain', 'text/x-bogus', 'text/event-streams', 'application/json'].map((type) =>
    refusal(`type ${type === '' ? 'empty' : type}`, typed(type, 'data: a\n\n'), 'ERR_SSE_NOT_A_STREAM'),
  ),
]

const WITHOUT_QUERY: Difference = {
  requests: ['stream', 'stream 1', 'elsewhere', 'stream 1'],
  when: 'A redirect of a connection that resumes',
  because: 'Its position is in the URL, which the redirect replaces: redirect with the query.',
}

const AGAIN: Reason = {
  when: 'The connection after a redirected one',
  because:
    'Each connection begins at the URL it was given: the next redirect may be another, and the token is for that URL.',
}
const AFRESH: Difference = { requests: ['stream', 'elsewhere', 'stream 1'], ...AGAIN }

const REDIRECTS: readonly ConnectionRow[] = [
  ...[301, 302, 303, 307, 308].map((code) => ({
    name: `redirect ${code}`,
    answers: [status(code, { location: 'elsewhere' }), chunks('id: 1\ndata: a\n\n')],
    // The request is the same one, and its URL the last it was redirected to (whatwg/html#503).
    standard: { events: ['a 1'], requests: ['stream', 'elsewhere', 'elsewhere 1'] },
    differs: { kit: AFRESH, 'kit, native': AFRESH },
  })),
  {
    name: 'a redirect keeps the Last-Event-ID',
    answers: [chunks('id: 1\ndata: a\n\n'), status(307, { location: 'elsewhere' }), chunks('data: b\n\n')],
    standard: { events: ['a 1', 'b 1'], requests: ['stream', 'stream 1', 'elsewhere 1', 'elsewhere 1'] },
    differs: {
      kit: { requests: ['stream', 'stream 1', 'elsewhere 1', 'stream 1'], ...AGAIN },
      'kit, native': WITHOUT_QUERY,
    },
  },
  {
    name: 'a redirect to a refusal',
    answers: [status(302, { location: 'elsewhere' }), status(404)],
    standard: { events: [], requests: ['stream', 'elsewhere'] },
    code: 'ERR_SSE_REFUSED',
    differs: { 'kit, native': { ...UNSEEN, requests: ['stream', 'elsewhere', 'stream'] } },
  },
]

const RETURNING: readonly ConnectionRow[] = [
  {
    name: 'the stream ends',
    answers: [A, chunks('data: b\n\n')],
    standard: { events: ['a', 'b'], requests: ['stream', 'stream', 'stream'] },
  },
  { name: 'the stream ends without a byte', answers: [chunks()], standard: RETURNS },
  {
    name: 'the connection breaks within a block',
    answers: [broken('id: 1\ndata: a\n\nid: 2\ndata: b')],
    standard: { events: ['a 1'], requests: ['stream', 'stream 1'] },
  },
  { name: 'the connection breaks before an answer', answers: [broken()], standard: RETURNS },
  {
    name: 'an id over connections without one, ended and broken',
    answers: [chunks('id: 1\ndata: a\n\n'), chunks('data: b\n\n'), broken(), broken('data: c\n\n')],
    standard: { events: ['a 1', 'b 1', 'c 1'], requests: ['stream', ...Array(4).fill('stream 1')] },
  },
  {
    name: 'an id that is reset',
    answers: [chunks('id: 1\ndata: a\n\n'), chunks('id\n\n'), chunks('data: b\n\n')],
    standard: { events: ['a 1', 'b'], requests: ['stream', 'stream 1', 'stream', 'stream'] },
    differs: {
      'kit, native': {
        events: ['a 1', 'b 1'],
        requests: ['stream', ...Array(3).fill('stream 1')],
        ...HIDDEN,
      },
    },
  },
  {
    name: 'a block that is not finished does not go on in the next connection',
    answers: [chunks('event: x\nid: 1\ndata: a\n'), chunks('data: b\n\n'), chunks('\n')],
    standard: { events: ['b'], requests: ['stream', 'stream', 'stream', 'stream'] },
  },
  {
    name: 'closed by a listener: nothing that came with the event, no return',
    answers: [chunks('data: a\n\ndata: b\n\n', 'data: c\n\n')],
    options: { closeAfter: 1 },
    standard: { events: ['a'], requests: ['stream'] },
  },
]

const SPREAD =
  'It waits a quarter of `retry:` at least and all of it at most, so that a thousand clients do not return at once.'

const RETRY: readonly ConnectionRow[] = [
  {
    name: '`retry:`',
    answers: [chunks('retry: 400\n\ndata: a\n\n')],
    standard: READ,
    waits: [100, 400],
    differs: { kit: { when: 'How long it is away', because: SPREAD } },
  },
  {
    name: '`retry:` in a block that is not finished',
    answers: [chunks('retry: 400\n')],
    standard: RETURNS,
    waits: [100, 400],
  },
  { name: '`retry: 0`', answers: [chunks('retry: 0\n\n')], standard: RETURNS, waits: [0, 1] },
  { name: '`retry:` in leading zeros', answers: [chunks('retry: 0400\n\n')], standard: RETURNS, waits: [100, 400] },
  {
    // Whoever took one of them would be away for a day.
    name: '`retry:` that is no number',
    answers: [
      chunks(
        ...[
          '100000000x',
          'x100000000',
          '-100000000',
          '+100000000',
          '1e9',
          '100000000.5',
          ' 100000000',
          '100000000 ',
          '٣٠٠٠٠٠٠٠٠',
        ].map((value) => `retry: ${value}\n\n`),
      ),
    ],
    standard: RETURNS,
    waits: [5, 20],
  },
  // Chromium takes it for its default of 3 s; nothing but time would tell.
  { name: '`retry:` without a value', answers: [chunks('retry\nretry:\n\n')], standard: RETURNS, waits: [5, 20] },
]

const CLOSED: Difference = {
  events: ['{}'],
  requests: ['stream'],
  because: 'Names that begin with `sse.` are the kit’s own: this one ends the stream for good.',
}

const OWN: readonly ConnectionRow[] = [
  {
    name: 'an event `sse.close`',
    answers: [chunks('event: sse.close\ndata: {}\n\ndata: a\n\n')],
    standard: { events: ['{}', 'a'], requests: ['stream', 'stream'] },
    code: 'ERR_SSE_ENDED',
    differs: {
      kit: CLOSED,
      'kit, native': CLOSED,
    },
  },
  {
    name: 'an event `sse.reconnect`',
    answers: [chunks('event: sse.reconnect\ndata: {"afterMs":77}\n\n')],
    standard: { events: ['{"afterMs":77}'], requests: ['stream', 'stream'] },
    waits: [77, 77],
    differs: { kit: { because: 'It waits as long as that says, since the server has spread it already.' } },
  },
  {
    name: 'an event of more than 2 MiB',
    answers: [chunks(`id: 1\ndata: a\n\ndata: ${'x'.repeat(2_200_000)}\n\n`)],
    standard: { events: ['a 1', `${'x'.repeat(2_200_000)} 1`], requests: ['stream', 'stream 1'] },
    code: 'ERR_SSE_EVENT_TOO_LARGE',
    differs: { kit: { events: ['a 1'], requests: ['stream'], because: 'Memory has a bound: `maxEventChars`.' } },
  },
]

export const CONNECTIONS: Readonly<Record<string, readonly ConnectionRow[]>> = {
  statuses: STATUSES,
  'content types': TYPES,
  redirects: REDIRECTS,
  'what comes after': RETURNING,
  '`retry:`': RETRY,
  'what is the kit’s own': OWN,
}
