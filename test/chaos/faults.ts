/** What can happen to a Redis and to the way there. Each fault ends by itself, or is undone by `calm`. */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import type { Random } from '../proof/random.js'

const USER = ['--user', 'kit', 'on', '>kit', '~*', '&*', '+@all']

export class Faults {
  readonly #folder: string
  readonly #server: RedisServer
  readonly #proxy: TcpProxy
  readonly #random: Random
  readonly #channels: readonly string[]
  readonly #admin: Redis
  #hasSnapshot = false

  private constructor(
    folder: string,
    server: RedisServer,
    proxy: TcpProxy,
    random: Random,
    channels: readonly string[],
  ) {
    this.#folder = folder
    this.#server = server
    this.#proxy = proxy
    this.#random = random
    this.#channels = channels
    this.#admin = new Redis(server.url, {
      retryStrategy: () => 50,
      maxRetriesPerRequest: null,
      autoResendUnfulfilledCommands: false,
    })
    this.#admin.on('error', () => undefined)
  }

  static async start(random: Random, channels: readonly string[]): Promise<Faults> {
    const folder = await mkdtemp(join(tmpdir(), 'sse-chaos-'))
    const server = await RedisServer.start(['--dir', folder, '--appendonly', 'yes', ...USER])
    const proxy = await TcpProxy.start(server.port)
    return new Faults(folder, server, proxy, random, channels)
  }

  /** For the process that is connected directly, and for one behind the proxy. */
  get urls(): readonly string[] {
    return [this.#server.port, this.#proxy.port].map((port) => `redis://kit:kit@127.0.0.1:${port}`)
  }

  get admin(): Redis {
    return this.#admin
  }

  readonly kinds: Readonly<Record<string, () => Promise<void>>> = {
    stop: async () => {
      this.#server.pause()
      await this.#pause(1000, 8000)
      this.#server.resume()
    },
    restart: async () => {
      await this.#server.kill()
      await this.#pause(0, 1500)
      await this.#up()
    },
    restartEmpty: async () => {
      await this.#server.kill()
      await rm(this.#data, { recursive: true, force: true })
      await this.#pause(0, 500)
      await this.#up()
    },
    snapshot: async () => {
      await rm(this.#saved, { recursive: true, force: true })
      await cp(this.#data, this.#saved, { recursive: true })
      this.#hasSnapshot = true
    },
    restore: async () => {
      if (!this.#hasSnapshot) return
      await this.#server.kill()
      await rm(this.#data, { recursive: true, force: true })
      await cp(this.#saved, this.#data, { recursive: true })
      await this.#pause(0, 300)
      await this.#up()
    },
    killSubscribers: () => this.#burst(() => this.#command('CLIENT', 'KILL', 'TYPE', 'pubsub')),
    killClients: () => this.#burst(() => this.#command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')),
    killAll: () =>
      this.#burst(async () => {
        await this.#command('CLIENT', 'KILL', 'TYPE', 'pubsub')
        await this.#command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      }),
    acl: async () => {
      const rules = [
        'resetchannels',
        '-publish',
        '-subscribe',
        '-xadd',
        '-eval',
        '-evalsha',
        '-hset',
        '-xrange',
        '-info',
        '-xdel',
      ]
      const rule = this.#random.pick(rules)
      await this.#command('ACL', 'SETUSER', 'kit', rule, ...(this.#random.chance(0.2) ? ['-xdel', '-xsetid'] : []))
      await this.#pause(200, 4000)
      await this.#allow()
    },
    scriptFlush: () => this.#burst(() => this.#command('SCRIPT', 'FLUSH')),
    flushAll: () => this.#command('FLUSHALL'),
    trim: async () => {
      await this.#command('XTRIM', this.#stream, 'MAXLEN', String(this.#random.below(20)))
    },
    delete: async () => {
      const entries = (await this.#command('XRANGE', this.#stream, '-', '+')) as unknown as
        | [string, unknown][]
        | undefined
      if (!Array.isArray(entries) || entries.length === 0) return
      for (let i = 0; i < 5; i++) await this.#command('XDEL', this.#stream, this.#random.pick(entries)[0])
    },
    evict: () => this.#command('DEL', this.#random.chance(0.5) ? this.#stream : this.#meta),
    smallBuffers: async () => {
      await this.#command('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 20kb 0 0')
      await this.#pause(1000, 5000)
      await this.#command('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 32mb 8mb 60')
    },
    fullMemory: async () => {
      await this.#command('CONFIG', 'SET', 'maxmemory', '1mb')
      await this.#pause(500, 3000)
      await this.#command('CONFIG', 'SET', 'maxmemory', '0')
    },
    pauseWrites: () => this.#command('CLIENT', 'PAUSE', String(500 + this.#random.below(3500)), 'WRITE'),
    pauseAll: () => this.#command('CLIENT', 'PAUSE', String(500 + this.#random.below(3500)), 'ALL'),
    demote: async () => {
      await this.#command('REPLICAOF', '127.0.0.1', '1')
      await this.#pause(200, 3000)
      await this.#command('REPLICAOF', 'NO', 'ONE')
    },
    cut: () => this.#burst(async () => this.#proxy.breakConnections()),
    freeze: async () => this.#proxy.freeze(),
    dropAnswers: async () => {
      this.#proxy.dropAnswers()
      await this.#pause(200, 3000)
      this.#proxy.breakConnections()
    },
    hold: async () => {
      const held = this.#proxy.holdRequests()
      await this.#pause(50, 3000)
      if (this.#random.chance(0.5)) this.#proxy.breakConnections()
      await this.#pause(0, 2000)
      held.release()
    },
  }

  /** Undoes what may be left of the faults. */
  async calm(): Promise<void> {
    this.#server.resume()
    await this.#allow()
    await this.#command('CONFIG', 'SET', 'maxmemory', '0')
    await this.#command('CLIENT', 'UNPAUSE')
    await this.#command('REPLICAOF', 'NO', 'ONE')
  }

  pause(): void {
    this.#server.pause()
  }

  async stop(): Promise<void> {
    this.#admin.disconnect()
    await this.#proxy.stop()
    await this.#server.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }

  get #data(): string {
    return join(this.#folder, 'appendonlydir')
  }

  get #saved(): string {
    return join(this.#folder, 'saved')
  }

  get #stream(): string {
    return `sse:{${this.#random.pick(this.#channels)}}:s`
  }

  get #meta(): string {
    return `sse:{${this.#random.pick(this.#channels)}}:m`
  }

  async #up(): Promise<void> {
    await this.#server.up()
  }

  async #allow(): Promise<void> {
    await this.#command('ACL', 'SETUSER', 'kit', 'allchannels', '+@all')
  }

  /** One that fails, because another fault is under way, is no fault. */
  async #command(name: string, ...args: string[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, 2000)
    })
    const done = this.#admin.call(name, ...args).catch(() => undefined)
    const answer = await Promise.race([done, late])
    clearTimeout(timer)
    return answer as undefined
  }

  async #burst(fault: () => Promise<void>): Promise<void> {
    for (let i = 1 + this.#random.below(12); i > 0; i--) {
      await fault()
      await this.#pause(0, 200)
    }
  }

  async #pause(least: number, most: number): Promise<void> {
    const ms = least + this.#random.below(most - least + 1)
    await new Promise((resolve) => setTimeout(resolve, ms))
  }
}
