/**
 * How connections end: which answers are streams, when and where a client reconnects, and with which headers. Each row
 * has the behaviour of the standard, and how and why a client differs. docs/interop.md is generated from the
 * differences.
 */
import { type Answer, status } from '../client/recorded.js'
import type { RunOptions } from './clients.js'
import { broken, chunks, typed } from './script-server.js'

export type Conformer = 'kit' | 'kit, native' | 'Chromium'

interface Outcome {
  /** The data of each event, followed by the last event id. */
  readonly events: readonly string[]
  /** The path of each request, followed by its Last-Event-ID. After the last one the client is closed. */
  readonly requests: readonly string[]
}

export interface Reason {
  readonly because: string
  /** The cases, for the page. @defaultValue the name of the row */
  readonly when?: string
}

type Difference = Partial<Outcome> & Reason

export interface ConnectionRow {
  readonly name: string
  /** The answers. Further requests are answered with 204, or not at all if the test closes the client. */
  readonly answers: readonly Answer[]
  readonly standard: Outcome
  readonly differs?: Readonly<Partial<Record<Conformer, Difference>>>
  readonly options?: Pick<RunOptions, 'closeAfter' | 'reportsEvents' | 'withToken'>
  /** How long the kit's client waits after the first answer, in ms. With `native` the wait is not observable. */
  readonly waits?: readonly [least: number, most: number]
  /** The tokens of its requests, in order. */
  readonly tokens?: readonly string[]
  /** The error code of the kit's client with `fetch`. */
  readonly code?: string
}

/** Also in parsing-rows.ts. */
export const HIDDEN: Reason = {
  when: 'An id without data',
  because: 'Not observable: EventSource exposes its last event id only with events.',
}

const A = chunks('data: a\n\n')
const ONCE: Outcome = { events: [], requests: ['stream'] }
const RETURNS: Outcome = { events: [], requests: ['stream', 'stream'] }
const READ: Outcome = { events: ['a'], requests: ['stream', 'stream'] }

const UNSEEN: Difference = {
  ...RETURNS,
  when: 'Any refusal, and any answer that is not a stream',
  because: 'EventSource does not expose why it closed, so the client retries with back-off.',
}

function refusal(name: string, answer: Answer, code: string): ConnectionRow {
  return { name, answers: [answer], standard: ONCE, code, differs: { 'kit, native': UNSEEN } }
}

function retried(name: string, reason: Reason, answer: Answer, more: Partial<ConnectionRow> = {}): ConnectionRow {
  const kit = { ...RETURNS, ...reason }
  return { name, answers: [answer], standard: ONCE, differs: { kit, 'kit, native': UNSEEN }, ...more }
}

const MAY_PASS: Reason = {
  when: 'Status 408, 425, 429, 500 and above',
  because: 'A retry may succeed. The client reconnects with back-off, and not before `Retry-After`.',
}
const EXPIRED: Reason = {
  when: 'Status 401',
  because: 'The token has expired. The client gets a fresh one and reconnects, not before `tokenRetryMs`.',
}

const STATUSES: readonly ConnectionRow[] = [
  ...[204, 205, 206, 210, 299].map((code) => refusal(`status ${code}`, status(code), 'ERR_SSE_ENDED')),
  ...[400, 403, 404, 410, 418].map((code) => refusal(`status ${code}`, status(code), 'ERR_SSE_REFUSED')),
  retried('status 401', EXPIRED, status(401), {
    options: { withToken: true },
    waits: [3000, 3000],
    tokens: ['stale', 'stale', 'fresh'],
  }),
  ...[408, 425, 500, 502, 504].map((code) => retried(`status ${code}`, MAY_PASS, status(code))),
  ...[429, 503].map((code) =>
    retried(`status ${code} with Retry-After`, MAY_PASS, status(code, { 'retry-after': '1' }), { waits: [1000, 1000] }),
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
        because: 'Chromium refuses it. The standard reads UTF-8, independent of the charset.',
      },
      'kit, native': {
        ...RETURNS,
        when: 'Type `text/event-stream` with another charset than UTF-8',
        because: 'Chromium refuses it, and the client retries.',
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
  because: 'The position is in the URL, which the redirect replaces: keep the query in the redirect.',
}

const AGAIN: Reason = {
  when: 'The connection after a redirected one',
  because:
    'Each connection begins at the original URL: the next redirect may differ, and the token is for the original URL.',
}
const AFRESH: Difference = { requests: ['stream', 'elsewhere', 'stream 1'], ...AGAIN }

const REDIRECTS: readonly ConnectionRow[] = [
  ...[301, 302, 303, 307, 308].map((code) => ({
    name: `redirect ${code}`,
    answers: [status(code, { location: 'elsewhere' }), chunks('id: 1\ndata: a\n\n')],
    // The standard reconnects to the last URL of the redirect (whatwg/html#503).
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
    answers: [broken('id: 1\ndata: a\n\nid: 2\ndata: b', 'a')],
    options: { reportsEvents: true },
    standard: { events: ['a 1'], requests: ['stream', 'stream 1'] },
  },
  { name: 'the connection breaks before an answer', answers: [broken()], standard: RETURNS },
  {
    name: 'an id over connections without one, ended and broken',
    answers: [chunks('id: 1\ndata: a\n\n'), chunks('data: b\n\n'), broken(), broken('data: c\n\n', 'c')],
    options: { reportsEvents: true },
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
    name: 'an unfinished block does not continue in the next connection',
    answers: [chunks('event: x\nid: 1\ndata: a\n'), chunks('data: b\n\n'), chunks('\n')],
    standard: { events: ['b'], requests: ['stream', 'stream', 'stream', 'stream'] },
  },
  {
    name: 'closed by a listener: no later event of the same chunk, no reconnect',
    answers: [chunks('data: a\n\ndata: b\n\n', 'data: c\n\n')],
    options: { closeAfter: 1 },
    standard: { events: ['a'], requests: ['stream'] },
  },
]

const SPREAD =
  'It waits between a quarter of `retry:` and all of it, so that a thousand clients do not reconnect at once.'

const RETRY: readonly ConnectionRow[] = [
  {
    name: '`retry:`',
    answers: [chunks('retry: 400\n\ndata: a\n\n')],
    standard: READ,
    waits: [100, 400],
    differs: { kit: { when: 'The time before it reconnects', because: SPREAD } },
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
    // A client that accepted one of these values would wait for a day.
    name: '`retry:` that is not a number',
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
  // Chromium resets to its default of 3 s, which only elapsed time would show.
  { name: '`retry:` without a value', answers: [chunks('retry\nretry:\n\n')], standard: RETURNS, waits: [5, 20] },
]

const CLOSED: Difference = {
  events: ['{}'],
  requests: ['stream'],
  because: 'Names that begin with `sse.` belong to the kit. After this event the client does not reconnect.',
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
    differs: { kit: { because: 'It waits exactly `afterMs`, because the server has spread this time already.' } },
  },
  {
    name: 'an event of more than 2 MiB',
    answers: [chunks(`id: 1\ndata: a\n\ndata: ${'x'.repeat(2_200_000)}\n\n`)],
    standard: { events: ['a 1', `${'x'.repeat(2_200_000)} 1`], requests: ['stream', 'stream 1'] },
    code: 'ERR_SSE_EVENT_TOO_LARGE',
    differs: { kit: { events: ['a 1'], requests: ['stream'], because: 'Memory is bounded by `maxEventChars`.' } },
  },
]

export const CONNECTIONS: Readonly<Record<string, readonly ConnectionRow[]>> = {
  statuses: STATUSES,
  'content types': TYPES,
  redirects: REDIRECTS,
  reconnecting: RETURNING,
  '`retry:`': RETRY,
  'events of the kit itself': OWN,
}
