/**
 * The behaviour of each client, as data. The suite asserts every cell against the real client, and docs/interop.md is
 * generated from it. There are no adapters here, so that the table can be generated without a browser.
 */
import { readFileSync } from 'node:fs'
import type { Seen } from './script.js'

export interface ClientRow {
  /** The package that has the version, or for a client that is not from npm the version that was tested last. */
  readonly version: { readonly package: string } | { readonly tested: string }
  readonly runsIn: 'Node' | 'Chromium' | 'a shell'
  /** How the client reads an event, if that differs from the standard. */
  readonly reads?: (event: Seen) => Seen
  /** How it handles a comment. */
  readonly heartbeats: 'ignored' | 'empty message'
  /** The connection breaks. */
  readonly cut: 'resumes' | 'ends'
  /** The server ends the stream, after `sse.reconnect`. */
  readonly ended: 'resumes' | 'ends'
  readonly retry: 'honoured' | 'never reconnects'
  /** It reconnects, is answered 503 with `Retry-After`, and later the server accepts it again. */
  readonly unavailable: 'stops' | 'resumes'
  /** It is answered 204. */
  readonly noContent: 'stops' | 'reconnects'
  /** A stream that ends immediately refuses it (`refuseWith: 'stream'`), at first and again when it reconnects. */
  readonly refused: 'resumes' | 'ends'
  readonly http2: 'yes' | 'no'
  /** Notes for its users. */
  readonly notes: readonly string[]
}

const withoutInheritedId = (event: Seen): Seen => (event.inherited ? { ...event, id: '' } : event)

export const CLIENTS = {
  'native EventSource': {
    version: { tested: 'Chromium 156' },
    runsIn: 'Chromium',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'stops',
    noContent: 'stops',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      "After any status but 200 it does not reconnect, so set `refuseWith: 'stream'` for its routes.",
      'It cannot send headers: use a ticket or a cookie.',
    ],
  },
  'reconnecting-eventsource': {
    version: { package: 'reconnecting-eventsource' },
    runsIn: 'Chromium',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'resumes',
    noContent: 'reconnects',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'The native EventSource inside reconnects and resumes. ' +
        'When it stops, the client creates a new one after a random time, with the position as `?lastEventId=`.',
      'It also reconnects after a 204, without end: close it yourself on `sse.close`.',
      'Use `addEventListener`: with `onmessage` it does not record its position.',
    ],
  },
  '@microsoft/fetch-event-source': {
    version: { package: '@microsoft/fetch-event-source' },
    runsIn: 'Chromium',
    reads: (event) => ({ ...withoutInheritedId(event), data: event.data.replace(/^\n+/, '').replace(/^\uFEFF/, '') }),
    heartbeats: 'empty message',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'resumes',
    noContent: 'reconnects',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'It passes a heartbeat to `onmessage` as a message without id, event and data: ignore such messages.',
      'Throw an error in `onclose`, as in the tests. ' +
        'Otherwise it stops when the server ends a stream, which happens every hour.',
      'It reconnects after any answer that is not a stream, also after a 204, unless your `onopen` and `onerror` ' +
        'prevent it (see below).',
      'It drops line ends and a byte order mark at the beginning of data. JSON has neither.',
      'An event without id (an ephemeral one) has the id `""` instead of the last one.',
    ],
  },
  'sse.js': {
    version: { package: 'sse.js' },
    runsIn: 'Chromium',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'resumes',
    noContent: 'reconnects',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'Tested with `autoReconnect: true`. By default it does not reconnect.',
      'It reconnects after a 204 and after any refusal. ' +
        '`maxRetries` limits refusals, but not a 204, which counts as a success.',
      'It uses XMLHttpRequest, which keeps the response in memory until it ends: lower `maxAgeMs` for busy streams.',
    ],
  },
  eventsource: {
    version: { package: 'eventsource' },
    runsIn: 'Node',
    reads: withoutInheritedId,
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'stops',
    noContent: 'stops',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'HTTP/2 needs a `fetch` that supports it. The tests use undici with `allowH2`.',
      'An event without id (an ephemeral one) has the `lastEventId` `""` instead of the last one. ' +
        'It resumes correctly.',
    ],
  },
  'launchdarkly-eventsource': {
    version: { package: 'launchdarkly-eventsource' },
    runsIn: 'Node',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'resumes',
    noContent: 'stops',
    refused: 'resumes',
    http2: 'no',
    notes: [
      'It accepts any certificate unless `rejectUnauthorized: true` is set.',
      'It reconnects after 500, 502, 503 and 504, and waits for the time in `retry:`, not in `Retry-After`. ' +
        'It stops after 429 unless `errorFilter` allows it.',
      'Add a listener for `error`: without one an error is thrown and ends the process.',
      'Do not publish events named `error`, `end`, `open`, `closed` or `retrying`: the client has events with the ' +
        'same names.',
    ],
  },
  "undici's EventSource": {
    version: { package: 'undici' },
    runsIn: 'Node',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'stops',
    noContent: 'stops',
    refused: 'resumes',
    http2: 'yes',
    notes: ['HTTP/2 needs a dispatcher with `allowH2`.', 'Its documentation calls it experimental.'],
  },
  curl: {
    version: { tested: '7.88.1' },
    runsIn: 'a shell',
    heartbeats: 'ignored',
    cut: 'ends',
    ended: 'ends',
    retry: 'never reconnects',
    unavailable: 'stops',
    noContent: 'stops',
    refused: 'ends',
    http2: 'yes',
    notes: [
      'Tested with `--no-buffer --fail`. It prints the stream unchanged, and the tests parse the output.',
      'To resume, pass the last `id:` that it printed: `-H "Last-Event-ID: <id>"` or `?last_event_id=<id>`.',
      'With `--retry` it reconnects after a 503 when the time in `Retry-After` is over.',
    ],
  },
} as const satisfies Readonly<Record<string, ClientRow>>

type ClientName = keyof typeof CLIENTS
type ClientsIn<Place extends ClientRow['runsIn']> = {
  [Name in ClientName]: (typeof CLIENTS)[Name]['runsIn'] extends Place ? Name : never
}[ClientName]
export type BrowserClient = ClientsIn<'Chromium'>
export type NodeClient = ClientsIn<'Node' | 'a shell'>

/** Returns the version that is installed, or that was tested last. */
export function versionOf({ version }: ClientRow): string {
  if ('tested' in version) return version.tested
  const manifest = new URL(`../../node_modules/${version.package}/package.json`, import.meta.url)
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
