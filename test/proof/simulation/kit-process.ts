/** A process of the application: the kit behind Node's HTTP server, on simulated connections. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { AbstractConnector, Redis } from 'ioredis'
import { createMultiplexer, type Multiplexer, type MultiplexerOptions } from '../../../lib/index.js'
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
  readonly violate: (text: string) => void
}

export class KitProcess {
  readonly name: string
  readonly multiplexer: Multiplexer
  readonly redisLinks = new Set<Link>()
  readonly clientLinks = new Set<Link>()
  readonly #options: ProcessOptions
  readonly #server: Server
  #state: 'running' | 'closing' | 'gone' = 'running'

  constructor(options: ProcessOptions) {
    const { name, redis, time } = options
    this.name = name
    this.#options = options
    const source = redis === undefined ? undefined : this.#redisTemplate(redis)
    this.multiplexer = createMultiplexer({ ...options.multiplexer, clock: time, redis: source })
    const channelsOf = (req: { readonly url: string }): string[] =>
      new URL(req.url, 'http://localhost').searchParams.getAll('channel')
    const routes = {
      '/stream': this.multiplexer.stream(channelsOf),
      '/poll': this.multiplexer.poll(channelsOf),
      '/ack': this.multiplexer.ack(),
    }
    this.#server = createServer((req: IncomingMessage, res: ServerResponse) => {
      const path = new URL(req.url ?? '', 'http://localhost').pathname as keyof typeof routes
      void routes[path](req as never, res, (error) => {
        if (error !== undefined) options.violate(`${name} failed at ${path}: ${error}`)
        res.statusCode = error === undefined ? 404 : 500
        res.end()
      })
    })
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
    this.#state = 'gone'
  }

  #redisTemplate(redis: SimulatedRedis): Redis {
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
    return new Redis({ lazyConnect: true, Connector: SimulatedConnector as never })
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
