/** The clients that run in Node or in a shell. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { createParser } from 'eventsource-parser'
import { EventSource as LaunchDarklyEventSource } from 'launchdarkly-eventsource'
import { Agent, EventSource as UndiciEventSource, fetch as undiciFetch } from 'undici'
import type { NodeClient } from './clients.js'
import type { Connection, Open } from './connection.js'
import { type Seen, TYPES } from './script.js'

/** The part of EventSource that all clients have. */
interface Source {
  readonly readyState: number
  addEventListener(type: string, listener: (event: unknown) => void): void
  close(): void
}

function connect(source: Source, whenClosed?: () => Promise<void>): Connection {
  const seen: Seen[] = []
  for (const type of TYPES) {
    source.addEventListener(type, (event: unknown) => {
      const { data, lastEventId } = event as MessageEvent<string>
      seen.push({ type, data, id: lastEventId })
    })
  }
  return {
    seen: async () => seen,
    isOver: async () => source.readyState === 2,
    close: async () => {
      source.close()
      await whenClosed?.()
    },
  }
}

const http2Agent = (ca: string): Agent => new Agent({ allowH2: true, connect: { ca } })

const openEventSource: Open = async (url, { ca } = {}) => {
  if (ca === undefined) return connect(new EventSource(url))
  const dispatcher = http2Agent(ca)
  const fetch = (input: string | URL, init: object) => undiciFetch(input, { ...init, dispatcher }) as never
  return connect(new EventSource(url, { fetch }), () => dispatcher.destroy())
}

const openUndici: Open = async (url, { ca } = {}) => {
  if (ca === undefined) return connect(new UndiciEventSource(url))
  const dispatcher = http2Agent(ca)
  return connect(new UndiciEventSource(url, { node: { dispatcher } }), () => dispatcher.destroy())
}

export const openLaunchDarkly: Open = async (url, { ca } = {}) => {
  const options = ca === undefined ? {} : { https: { ca }, rejectUnauthorized: true }
  const source = new LaunchDarklyEventSource(url, options)
  // Like any EventEmitter, it throws an `error` without a listener.
  source.addEventListener('error', () => undefined)
  return connect(source)
}

export const hasCurl = spawnSync('curl', ['--version']).status === 0

/** Parses the output of curl, because curl itself does not parse streams. */
export const openCurl = async (
  url: string,
  { ca, args = [] }: { readonly ca?: string | undefined; readonly args?: readonly string[] } = {},
): Promise<Connection & { readonly stderr: string }> => {
  const seen: Seen[] = []
  let id = ''
  const parser = createParser({
    onEvent: (event) => {
      id = event.id ?? id
      seen.push({ type: event.event ?? 'message', data: event.data, id })
    },
  })
  const folder = await mkdtemp(join(tmpdir(), 'sse-curl-'))
  if (ca !== undefined) await writeFile(join(folder, 'ca.pem'), ca)
  const tls = ca === undefined ? [] : ['--http2', '--cacert', join(folder, 'ca.pem')]
  const usual = ['--no-buffer', '--no-progress-meter', '--fail', '--compressed']
  const child = spawn('curl', [...usual, ...tls, ...args, url], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close')
  child.stdout.setEncoding('utf8').on('data', (text: string) => parser.feed(text))
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return {
    get stderr() {
      return stderr
    },
    seen: async () => seen,
    isOver: async () => child.exitCode !== null,
    close: async () => {
      child.kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export const NODE_CLIENTS: Readonly<Record<NodeClient, Open>> = {
  eventsource: openEventSource,
  'launchdarkly-eventsource': openLaunchDarkly,
  "undici's EventSource": openUndici,
  curl: openCurl,
}
