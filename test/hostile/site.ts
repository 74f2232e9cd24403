/**
 * What is attacked: the kit's routers and handlers on HTTP/1.1 and HTTP/2, for two tenants. The attacker is a user of
 * the tenant `acme`. Everything of the tenant `globex` contains `SECRET`, so a foreign byte is seen wherever it arrives.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import express from 'express'
import jwt from 'jsonwebtoken'
import {
  type Auth,
  authenticate,
  conversationStreams,
  conversationsChannel,
  createMultiplexer,
  createPressure,
  createRevocations,
  createStore,
  dashboardInit,
  type KeyValueStore,
  type Multiplexer,
  messagesChannel,
  type Revocations,
  SseError,
  sseErrors,
  sseMiddleware,
  tickets,
  webhooks,
} from '../../lib/index.js'
import { eventually } from '../helpers/eventually.js'
import { SseClient } from '../helpers/sse-client.js'
import type { Findings } from './area.js'

export const SECRET = 'SECRET'
export const KEY = 'a key for the tokens of the tests of hostile input'
const WEBHOOK_KEY = 'webhook-key'
/** So that the kit itself notices within the time of a test that a client has left, where Node does not. */
/** On a busy machine the event loop is late. */
const NO_PRESSURE = createPressure({ maxLoopDelayMs: 0 })
const SESSION_MS = 5000
const TIMES = { heartbeatMs: 500, stallMs: 2000, closeGraceMs: 200 }

export function tokenOf(user: string, tenant: string, more: object = {}): string {
  return jwt.sign({ tenant, ...more }, KEY, { subject: user, expiresIn: 3600, jwtid: `${tenant}-${user}` })
}

/** The token of the attacker. */
export const TOKEN = tokenOf('mallory', 'acme')
/** The token of a user of the other tenant. */
export const FOREIGN_TOKEN = tokenOf('ada', 'globex')

const MALLORY: Auth = { user: 'mallory', tenant: 'acme', expiresAt: Number.POSITIVE_INFINITY, claims: {} }

export interface SiteOptions {
  readonly findings: Findings
  /** The URL of a Redis. @defaultValue embedded */
  readonly redis?: string
}

export class Site {
  readonly multiplexer: Multiplexer
  readonly store: KeyValueStore
  readonly revocations: Revocations
  /** With HTTP/1.1, and its Express app. */
  readonly server: Server
  /** With HTTP/2 in cleartext, and the multiplexer's handlers alone. */
  readonly http2: Http2Server
  readonly #findings: Findings
  readonly #sessions = new Set<ServerHttp2Session>()
  readonly #dashboard: { close(): Promise<void> }
  readonly #webhooks: { close(): Promise<void> }

  private constructor({ findings, redis }: SiteOptions) {
    this.#findings = findings
    this.store = createStore({ redis })
    this.revocations = createRevocations({ store: this.store })
    this.multiplexer = createMultiplexer({
      redis,
      lingerMs: 0,
      stream: { ...TIMES, revocations: this.revocations, pressure: NO_PRESSURE },
    })
    const { multiplexer, store, revocations } = this
    // Otherwise Express prints the errors of paths that it cannot decode.
    const app = express().disable('x-powered-by').set('env', 'test')
    const received = webhooks({ secrets: WEBHOOK_KEY, verifyToken: 'verify', onMessage: () => undefined, store })
    const dashboard = dashboardInit({ store, load: ({ user, tenant }) => dashboardOf(user, tenant) })
    this.#webhooks = received
    this.#dashboard = dashboard
    app.use('/webhooks', received)
    app.use(authenticate({ secret: KEY, tickets: store, revocations }))
    app.use('/tickets', tickets({ store }))
    app.use('/sse', conversationStreams({ multiplexer, authorize: (_, id) => !id.startsWith('closed') }))
    app.use('/dashboard', dashboard)
    app.get('/own', sseMiddleware({ ...TIMES, pressure: NO_PRESSURE }), (_, res) => {
      res.sse().send({ event: 'own', data: { of: 'acme' } })
    })
    app.use(sseErrors({ onError: (error) => this.#onError(error) }))
    this.server = createServer(app)
    this.http2 = createHttp2Server(this.#handlers())
    // Node itself does not notice that a client has left after an error of the connection.
    this.http2.setTimeout(SESSION_MS)
    this.http2.on('session', (session) => {
      this.#sessions.add(session)
      session.on('close', () => this.#sessions.delete(session))
    })
    // Without a listener an error of a session would end the process: that is Node's own rule.
    this.http2.on('sessionError', () => findings.count('session error'))
  }

  static async start(options: SiteOptions): Promise<Site> {
    const site = new Site(options)
    for (const server of [site.server, site.http2]) await once(server.listen(0, '127.0.0.1'), 'listening')
    await site.pulse()
    return site
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get http2Port(): number {
    return (this.http2.address() as AddressInfo).port
  }

  /** Publishes for both tenants. */
  async pulse(): Promise<void> {
    const { multiplexer } = this
    await Promise.all([
      multiplexer.publish(conversationsChannel('acme'), { event: 'news', data: { of: 'acme' } }),
      multiplexer.publish(conversationsChannel('globex'), { event: 'news', data: { of: SECRET } }),
      multiplexer.publish(messagesChannel('acme', '1'), { event: 'message', data: 'of acme' }),
      multiplexer.publish(messagesChannel('globex', '1'), { event: 'message', data: SECRET }),
    ])
  }

  /** A normal client gets a normal stream, and after it nothing is held. */
  async assertHealthy(): Promise<void> {
    await eventually(() => this.#isIdle(), 20_000).catch(() => {
      this.#findings.violate(`afterwards it still holds ${JSON.stringify(this.multiplexer.status())}`)
    })
    const client = await SseClient.open(`http://127.0.0.1:${this.port}/sse/conversations`, {
      authorization: `Bearer ${TOKEN}`,
    })
    await client.control('sse.open')
    await this.pulse()
    await client.messagesUntil(1)
    if (client.raw.includes(SECRET)) this.#findings.violate('a normal stream has foreign bytes')
    client.close()
    await eventually(() => this.#isIdle(), 20_000)
  }

  async stop(): Promise<void> {
    for (const session of this.#sessions) session.destroy()
    this.http2.close()
    await this.multiplexer.close()
    this.server.close()
    this.server.closeAllConnections()
    await this.#dashboard.close()
    await this.#webhooks.close()
    await this.store.close()
  }

  #isIdle(): boolean {
    const { streams, channels } = this.multiplexer.status()
    return streams === 0 && channels === 0
  }

  #onError(error: unknown): void {
    if (error instanceof SseError && error.status === 503) this.#findings.count(error.code)
    else this.#findings.violate(`the application got an error: ${error instanceof Error ? error.stack : String(error)}`)
  }

  #handlers(): Parameters<typeof createHttp2Server>[1] {
    const { multiplexer } = this
    const channelsOf = (): string => conversationsChannel('acme')
    const routes = {
      stream: multiplexer.stream(channelsOf),
      poll: multiplexer.poll(channelsOf),
      ack: multiplexer.ack(),
    }
    return (req, res) => {
      Object.assign(req, { auth: MALLORY })
      const name = /^\/(\w+)/.exec(req.url ?? '')?.[1] as keyof typeof routes
      const route = routes[name]
      if (route === undefined) res.writeHead(404).end()
      else void route(req, res, (error) => this.#onError(error))
    }
  }
}

function dashboardOf(user: string, tenant: string) {
  const secret = tenant === 'globex' ? SECRET : ''
  return { profile: { user, secret }, tenant: { id: tenant, secret }, features: {}, channels: [] }
}
