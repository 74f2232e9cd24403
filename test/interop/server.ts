/** The server that all clients are tested with. Each path is a stream on the same channel, with other options. */
import { once } from 'node:events'
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type ServerHttp2Session,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import compression from 'compression'
import express, { type RequestHandler } from 'express'
import type { SseEvent } from '../../lib/core/message.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createPressure, type Pressure } from '../../lib/stream/pressure.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { exceedQueuedBytes } from '../helpers/pressure.js'
import { type Certificate, makeCertificate } from './certificate.js'
import { read, type Seen } from './script.js'

const HEARTBEAT_MS = 25_000
const MAX_AGE_MS = 60_000
const SUSTAIN_MS = 5000

export interface InteropServerOptions {
  /** `2`: only HTTP/2 over TLS. `'1 over TLS'`: also HTTP/1.1 over TLS. @defaultValue 1 */
  readonly http?: 1 | 2 | '1 over TLS'
  /** Further files, by path: a page and its script. */
  readonly files?: Readonly<Record<string, { readonly type: string; readonly body: string }>>
  /** The time in `Retry-After` of refusals, in ms. */
  readonly pauseMs?: number
}

/** How a request was answered. */
interface Answer {
  readonly lastEventId: string | undefined
  readonly status: number
  readonly retryAfter: unknown
  readonly encoding: unknown
}

interface Headed {
  readonly statusCode: number
  getHeader(name: string): unknown
}

interface Transport {
  readonly url: string
  cut(): void
  stop(): Promise<void>
}

export class InteropServer {
  readonly multiplexer: Multiplexer
  /** The test advances it, for heartbeats and the maximum age. */
  readonly clock = new FakeClock()
  /** In the order in which they arrived. */
  readonly #answers: { readonly path: string; readonly lastEventId: string | undefined; readonly res: Headed }[] = []
  /** Connections that did not speak the server's protocol. */
  strangers = 0
  readonly #pressureClock = new FakeClock()
  readonly #pressure: Pressure
  readonly #published: Seen[] = []
  #transport: Transport | undefined
  #certificate: Certificate | undefined

  private constructor(pauseMs: number) {
    const { clock } = this
    const pressure = createPressure({ clock, maxLoopDelayMs: 0 })
    this.multiplexer = createMultiplexer({
      clock,
      stream: { retryMs: 20, heartbeatMs: HEARTBEAT_MS, maxAgeMs: MAX_AGE_MS, pressure },
    })
    const clockOfPressure = { clock: this.#pressureClock, sustainMs: SUSTAIN_MS }
    this.#pressure = createPressure({ ...clockOfPressure, maxLoopDelayMs: 0, pauseMs })
  }

  static async start({ http = 1, files = {}, pauseMs = 1000 }: InteropServerOptions = {}): Promise<InteropServer> {
    const server = new InteropServer(pauseMs)
    const routes: Record<string, RequestHandler> = { ...server.#streams() }
    for (const [path, { type, body }] of Object.entries(files)) {
      routes[path] = (_, res) => {
        res.setHeader('Content-Type', type)
        res.end(body)
      }
    }
    server.#transport = http === 1 ? await server.#overHttp1(routes) : await server.#overTls(routes, http !== 2)
    return server
  }

  get url(): string {
    return this.#transport?.url ?? ''
  }

  get certificate(): string | undefined {
    return this.#certificate?.cert
  }

  /** All published events, as a client must read them. */
  get published(): readonly Seen[] {
    return this.#published
  }

  /** The answers to requests for this path, in the order in which the requests arrived. */
  answers(path: string): Answer[] {
    return this.#answers
      .filter((answer) => answer.path === path)
      .map(({ lastEventId, res }) => ({
        lastEventId,
        status: res.statusCode,
        retryAfter: res.getHeader('retry-after'),
        encoding: res.getHeader('content-encoding'),
      }))
  }

  /** How many requests there were for this path. */
  opened(path: string): number {
    return this.answers(path).length
  }

  async publish(events: readonly SseEvent[]): Promise<void> {
    for (const event of events) {
      const { epoch, offset } = await this.multiplexer.publish('log', event)
      const position = offset === 0 ? undefined : `${epoch}-${offset}`
      this.#published.push(read(event, position, this.#published.at(-1)?.id ?? ''))
    }
  }

  /** Closes all connections immediately. */
  cut(): void {
    this.#transport?.cut()
  }

  /** Makes all streams send at least one heartbeat. */
  beat(): void {
    this.clock.advance(HEARTBEAT_MS)
  }

  /** Makes all streams reach their maximum age. */
  age(): void {
    this.clock.advance(MAX_AGE_MS)
  }

  /** Refuses later streams at `/refused-by-status` and `/refused-by-stream`. */
  press(): void {
    exceedQueuedBytes(this.#pressure)
  }

  relax(): void {
    this.#pressureClock.advance(SUSTAIN_MS)
  }

  async stop(): Promise<void> {
    await this.multiplexer.close()
    await this.#transport?.stop()
  }

  #streams(): Record<string, RequestHandler> {
    const { multiplexer } = this
    const log = (): string => 'log'
    const pressure = this.#pressure
    const compress = compression({ threshold: 0 })
    const stream = multiplexer.stream(log)
    return {
      '/stream': stream,
      '/compressed': (req, res, next) => compress(req, res, () => void stream(req, res, next)),
      '/patient': multiplexer.stream(log, { retryMs: 3_600_000 }),
      '/refused-by-status': multiplexer.stream(log, { pressure, refuseWith: 'status' }),
      '/refused-by-stream': multiplexer.stream(log, { pressure, refuseWith: 'stream' }),
      '/no-content': (_, res) => {
        res.statusCode = 204
        res.end()
      },
    }
  }

  #note({ url = '', headers }: Pick<Http2ServerRequest, 'url' | 'headers'>, res: Headed): string {
    const path = new URL(url, 'http://localhost').pathname
    this.#answers.push({ path, lastEventId: headers['last-event-id'] as string | undefined, res })
    return path
  }

  async #overHttp1(routes: Readonly<Record<string, RequestHandler>>): Promise<Transport> {
    const app = express()
    app.use((req, res, next) => {
      this.#note(req, res)
      next()
    })
    for (const [path, handler] of Object.entries(routes)) app.get(path, handler)
    const { url, server, stop } = await serve(app)
    return { url, stop, cut: () => server.closeAllConnections() }
  }

  /** Express 5 does not support HTTP/2. The kit's handlers do, with Node's compatibility API. */
  async #overTls(routes: Readonly<Record<string, RequestHandler>>, allowHTTP1: boolean): Promise<Transport> {
    this.#certificate = await makeCertificate()
    const sessions = new Set<ServerHttp2Session>()
    const server: Http2SecureServer = createSecureServer({ ...this.#certificate, allowHTTP1 }, (req, res) => {
      const handler = routes[this.#note(req, res)]
      if (handler) void handler(req as never, res as never, () => res.stream.destroy())
      else res.writeHead(404).end()
    })
    server.on('session', (session) => {
      sessions.add(session)
      session.on('close', () => sessions.delete(session))
    })
    server.on('unknownProtocol', (socket) => {
      this.strangers++
      socket.destroy()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const cut = (): void => {
      for (const session of sessions) session.destroy()
    }
    const stop = async (): Promise<void> => {
      server.close()
      cut()
      await once(server, 'close')
    }
    return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, cut, stop }
  }
}
