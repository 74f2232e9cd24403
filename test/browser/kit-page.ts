/** Pages that contain only the client, and a server of the kit. */
import type { IncomingMessage } from 'node:http'
import express from 'express'
import type { Page } from 'playwright-core'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { bundle, pageWith } from './bundle.js'

const PAGE = pageWith('/kit.js')

let bundled: Promise<string> | undefined

interface KitServerOptions {
  readonly stream?: StreamOptions
  /** A Redis for the logs. @defaultValue none: the logs are in the process, and end with it */
  readonly redis?: string
}

/** `/` is the page, `/stream` a stream on the channel `log`, `/poll` a poll on the same channel. */
export class KitServer {
  readonly #options: KitServerOptions
  #multiplexer: Multiplexer
  #server: TestServer
  /** How many requests for the stream were received. */
  opened = 0
  /** How many requests for the page were received. */
  loaded = 0
  /** The last request for the stream. */
  lastEventId: string | string[] | undefined
  #published = 0

  private constructor(options: KitServerOptions, multiplexer: Multiplexer, server: TestServer) {
    this.#options = options
    this.#multiplexer = multiplexer
    this.#server = server
    this.#count()
  }

  static async start(stream: StreamOptions = {}, redis?: string): Promise<KitServer> {
    const options = { stream, ...(redis !== undefined && { redis }) }
    return new KitServer(options, ...(await run(options)))
  }

  /** Simulates a crash of the process: connections break without a control event. */
  async crash(): Promise<void> {
    await this.#server.stop()
    await this.#multiplexer.close()
  }

  /** Simulates another process at the same address, after a crash. */
  async restart(): Promise<void> {
    const [multiplexer, server] = await run(this.#options, Number(new URL(this.url).port))
    this.#multiplexer = multiplexer
    this.#server = server
    this.#count()
  }

  get multiplexer(): Multiplexer {
    return this.#multiplexer
  }

  get url(): string {
    return this.#server.url
  }

  get streams(): number {
    return this.multiplexer.status().streams
  }

  get published(): number {
    return this.#published
  }

  get numbers(): number[] {
    return range(1, this.#published)
  }

  cursor(): Promise<string> {
    return this.multiplexer.cursor('log')
  }

  async publish(count = 1): Promise<void> {
    for (let i = 0; i < count; i++) await this.multiplexer.publish('log', { event: 'n', data: ++this.#published })
  }

  /** Counts events that another process published. */
  notePublished(count: number): void {
    this.#published += count
  }

  /** Publishes until stopped. @returns stops it */
  publishOn(everyMs = 2): () => Promise<void> {
    let isOver = false
    const publishing = (async () => {
      while (!isOver) {
        await this.publish()
        await new Promise((resolve) => setTimeout(resolve, everyMs))
      }
    })()
    return () => {
      isOver = true
      return publishing
    }
  }

  /** Cuts all connections, as the restart of a proxy does. */
  cut(): void {
    this.#server.server.closeAllConnections()
  }

  async stop(): Promise<void> {
    await this.multiplexer.close()
    await this.#server.stop()
  }

  #count(): void {
    this.#server.server.prependListener('request', ({ url = '', headers }: IncomingMessage) => {
      if (url === '/') this.loaded++
      if (!url.startsWith('/stream')) return
      this.opened++
      this.lastEventId = headers['last-event-id']
    })
  }
}

async function run({ stream, redis }: KitServerOptions, port = 0): Promise<[Multiplexer, TestServer]> {
  bundled ??= bundle('kit')
  const code = await bundled
  const multiplexer = createMultiplexer({ lingerMs: 0, redis, stream: { retryMs: 50, ...stream } })
  const app = express()
  app.get('/', (_, res) => void res.type('html').send(PAGE))
  app.get('/kit.js', (_, res) => void res.type('js').send(code))
  app.get(
    '/stream',
    multiplexer.stream(() => 'log'),
  )
  app.get(
    '/poll',
    multiplexer.poll(() => 'log'),
  )
  return [multiplexer, await serve(app, port)]
}

/** The numbers that a page received. */
export function seenBy(page: Page): Promise<number[]> {
  return page.evaluate(() => [...kit.seen])
}

/** The state of a page's stream, with its reason. */
export async function stateOf(page: Page): Promise<string> {
  return page.evaluate(() => kit.states.at(-1) ?? '')
}
