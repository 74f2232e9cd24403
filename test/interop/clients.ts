/**
 * What is known of each client, as data: the suite asserts every cell of it against the real client, and docs/interop.md is
 * printed from it. No adapters here, so that the table can be printed where there is no browser.
 */
import { readFileSync } from 'node:fs'
import type { Seen } from './script.js'

export interface ClientRow {
  /** Where its version stands: a package's name, or what it was last tested with if it is not from npm. */
  readonly version: { readonly package: string } | { readonly tested: string }
  readonly runsIn: 'Node' | 'Chromium' | 'a shell'
  /** As it reads events, where that is not how the standard reads them. */
  readonly reads?: (event: Seen) => Seen
  /** What it makes of a comment. */
  readonly heartbeats: 'ignored' | 'empty message'
  /** The connection breaks. */
  readonly cut: 'resumes' | 'ends'
  /** The server ends the stream, after `sse.reconnect`. */
  readonly ended: 'resumes' | 'ends'
  readonly retry: 'honoured' | 'never returns'
  /** It comes back to a 503 with `Retry-After`, and later that is over. */
  readonly unavailable: 'gives up' | 'resumes'
  /** It is answered 204. */
  readonly noContent: 'gives up' | 'returns'
  /** It is refused by a stream that ends at once (`refuseWith: 'stream'`), at first and again when it comes back. */
  readonly refused: 'resumes' | 'ends'
  readonly http2: 'yes' | 'no'
  /** What its users should know, each in a sentence. What is checked by a test of its own is said there. */
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
    unavailable: 'gives up',
    noContent: 'gives up',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      "Any status but 200 ends it for good, so give its routes `refuseWith: 'stream'`.",
      'It sends no headers of your own: give a ticket or a cookie.',
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
    noContent: 'returns',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'While the native EventSource inside reconnects by itself, it resumes. Where that gives up, a new one is made after a random time, which says its position as `?lastEventId=`.',
      'It returns to a 204 again and again: close it by yourself when you are told `sse.close`.',
      'Listen with `addEventListener`: it does not learn its position from `onmessage`.',
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
    noContent: 'returns',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'A heartbeat comes to `onmessage` as a message without id, event and data: leave such messages alone.',
      'Throw in `onclose`, as was done here: otherwise it is over when the server ends a stream, as it does every hour.',
      'It returns to whatever is no stream, a 204 too, unless your `onopen` and `onerror` say otherwise (below).',
      'Line ends at the beginning of data get lost, a byte order mark there too. JSON has neither.',
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
    noContent: 'returns',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'With `autoReconnect: true`, as here; by default it never returns.',
      'It returns to a 204 and to any refusal. `maxRetries` bounds refusals, but not the 204, which counts as a success.',
      'It runs on XMLHttpRequest, which keeps all of a response in memory until it ends: lower `maxAgeMs` for busy streams.',
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
    unavailable: 'gives up',
    noContent: 'gives up',
    refused: 'resumes',
    http2: 'yes',
    notes: [
      'HTTP/2 with a `fetch` that speaks it, here undici with `allowH2`.',
      'An event without id (an ephemeral one) has the `lastEventId` `""` instead of the last one. It resumes rightly.',
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
    noContent: 'gives up',
    refused: 'resumes',
    http2: 'no',
    notes: [
      'It accepts any certificate unless `rejectUnauthorized: true` is given.',
      'It returns to 500, 502, 503 and 504, and waits as `retry:` says, not as `Retry-After` does; 429 ends it unless `errorFilter` says otherwise.',
      'Listen to `error`: an error that nobody listens to is thrown, and ends the process.',
      'Do not publish events named `error`, `end`, `open`, `closed` or `retrying`: they cannot be told from its own.',
    ],
  },
  "undici's EventSource": {
    version: { package: 'undici' },
    runsIn: 'Node',
    heartbeats: 'ignored',
    cut: 'resumes',
    ended: 'resumes',
    retry: 'honoured',
    unavailable: 'gives up',
    noContent: 'gives up',
    refused: 'resumes',
    http2: 'yes',
    notes: ['HTTP/2 with a dispatcher that has `allowH2`.', 'Its own word on itself is that it is experimental.'],
  },
  curl: {
    version: { tested: '7.88.1' },
    runsIn: 'a shell',
    heartbeats: 'ignored',
    cut: 'ends',
    ended: 'ends',
    retry: 'never returns',
    unavailable: 'gives up',
    noContent: 'gives up',
    refused: 'ends',
    http2: 'yes',
    notes: [
      'With `--no-buffer --fail`. It prints the stream as it is; the tests parse what it printed.',
      'To resume, give the last `id:` it printed: `-H "Last-Event-ID: <id>"` or `?last_event_id=<id>`.',
      'With `--retry` it returns to a 503 after as long as `Retry-After` says.',
    ],
  },
} as const satisfies Readonly<Record<string, ClientRow>>

type ClientName = keyof typeof CLIENTS
type ClientsIn<Place extends ClientRow['runsIn']> = {
  [Name in ClientName]: (typeof CLIENTS)[Name]['runsIn'] extends Place ? Name : never
}[ClientName]
export type BrowserClient = ClientsIn<'Chromium'>
export type NodeClient = ClientsIn<'Node' | 'a shell'>

/** What is installed, or was tested last. */
export function versionOf({ version }: ClientRow): string {
  if ('tested' in version) return version.tested
  const manifest = new URL(`../../node_modules/${version.package}/package.json`, import.meta.url)
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
