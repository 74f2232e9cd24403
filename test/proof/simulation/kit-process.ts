/** A process of the application: the kit behind Node's HTTP server, on simulated connections. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { AbstractConnector, type RedisOptions } from 'ioredis'
import {
  authenticate,
  createMultiplexer,
  createRevocations,
  createStore,
  type KeyValueStore,
  type Multiplexer,
  type MultiplexerOptions,
  type Revocations,
  type Session as UserSession,
} from '../../../lib/index.js'
import type { Random } from '../random.js'
import { type Endpoint, Link, type Quality } from './network.js'
import type { SimulatedRedis } from './redis-server.js'
import type { VirtualTime } from './virtual-time.js'

export interface ProcessOptions {
  readonly name: string
  readonly time: VirtualTime
  readonly random: Random
  /** `undefined`: embedded. */
  readonly redis: SimulatedRedis | undefined
  readonly redisQuality: Quality
  readonly multiplexer: MultiplexerOptions
  /** Requests have a session (`x-session`). */
  readonly sessions: boolean
  readonly violate: (text: string) => void
}

/** How long an answer about revocations is cached, and how often open streams are looked up, in ms. */
export const REVOCATION_MS = { cacheMs: 500, checkMs: 1000 }

export class KitProcess {
  readonly name: string
  readonly multiplexer: Multiplexer
  readonly revocations: Revocations | undefined
  readonly #store: KeyValueStore | undefined
  readonly redisLinks = new Set<Link>()
  readonly clientLinks = new Set<Link>()
  readonly #options: ProcessOptions
  readonly #server: Server
  #state: 'running' | 'closing' | 'gone' = 'running'

  constructor(options: ProcessOptions) {
    const { name, redis, time } = options
    this.name = name
    this.#options = options
    const source = redis && this.#sourceOf(redis)
    if (options.sessions) {
      this.#store = createStore({ redis: source })
      this.revocations = createRevocations({ store: this.#store, clockToleranceMs: 0, ...REVOCATION_MS, clock: time })
    }
    const stream = { ...options.multiplexer.stream, ...(this.revocations && { revocations: this.revocations }) }
    this.multiplexer = createMultiplexer({ ...options.multiplexer, stream, clock: time, redis: source })
    const channelsOf = (req: { readonly url: string }): string[] =>
      new URL(req.url, 'http://localhost').searchParams.getAll('channel')
    const routes = {
      '/stream': this.multiplexer.stream(channelsOf),
      '/poll': this.multiplexer.poll(channelsOf),
      '/ack': this.multiplexer.ack(),
    }
    const serve = (req: IncomingMessage, res: ServerResponse): void => {
      const path = new URL(req.url ?? '', 'http://localhost').pathname as keyof typeof routes
      void routes[path](req as never, res, (error) => {
        if (error !== undefined) options.violate(`${name} failed at ${path}: ${error}`)
        res.statusCode = error === undefined ? 404 : 500
        res.end()
      })
    }
    const authenticated = this.revocations && this.#authenticated(this.revocations, serve)
    this.#server = createServer(authenticated ?? serve)
  }

  /** Whether the process accepts connections. */
  get isRunning(): boolean {
    return this.#state === 'running'
  }

  /** A client's connection. */
  connect(random: Random, quality: Quality): Endpoint {
    const link = new Link(`client of ${this.name}`, this.#options.time, random, quality)
    if (this.#state === 'running') {
      this.clientLinks.add(link)
      link.open((endpoint) => {
        if (this.#state === 'running') this.#server.emit('connection', endpoint)
        else endpoint.destroy()
      })
    } else {
      link.refuse()
    }
    link.client.once('close', () => this.clientLinks.delete(link))
    return link.client
  }

  /** Kills the process: all its connections break, and it has no further effect. */
  crash(): void {
    this.#state = 'gone'
    for (const link of [...this.redisLinks, ...this.clientLinks]) link.cut()
  }

  /** Shuts the process down in order. */
  async close(windowMs: number): Promise<void> {
    this.#state = this.#state === 'gone' ? 'gone' : 'closing'
    await this.multiplexer.close({ windowMs })
    await this.#store?.close()
    this.#state = 'gone'
  }

  #authenticated(
    revocations: Revocations,
    serve: (req: IncomingMessage, res: ServerResponse) => void,
  ): (req: IncomingMessage, res: ServerResponse) => void {
    const resolve = (req: { readonly headers: IncomingMessage['headers'] }): UserSession =>
      JSON.parse(req.headers['x-session'] as string) as UserSession
    const handler = authenticate({ resolve, revocations, clock: this.#options.time })
    return (req, res) =>
      handler(req as never, res as never, (error: unknown) => {
        if (error === undefined) return serve(req, res)
        this.#options.violate(`${this.name} failed to authenticate: ${error}`)
        res.end()
      })
  }

  #sourceOf(redis: SimulatedRedis): RedisOptions {
    const connect = (): Promise<Endpoint> => this.#connectRedis(redis)
    class SimulatedConnector extends AbstractConnector {
      constructor(options: { readonly disconnectTimeout?: number }) {
        super(options.disconnectTimeout ?? 500)
      }

      override async connect(): Promise<never> {
        this.connecting = true
        const stream = await connect()
        ;(this as unknown as { stream: unknown }).stream = stream
        return stream as never
      }
    }
    return { Connector: SimulatedConnector as never }
  }

  #connectRedis(redis: SimulatedRedis): Promise<Endpoint> {
    // A killed process never gets an answer.
    if (this.#state === 'gone') return new Promise(() => undefined)
    const { time, random, redisQuality, name } = this.#options
    const link = new Link(`${name} to Redis`, time, random, redisQuality)
    this.redisLinks.add(link)
    link.client.once('close', () => this.redisLinks.delete(link))
    if (redis.isUp) link.open((endpoint) => (redis.isUp ? redis.accept(endpoint) : endpoint.destroy()))
    else link.refuse()
    return Promise.resolve(link.client)
  }
}
