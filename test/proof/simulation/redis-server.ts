/**
 * A simulated Redis server: speaks RESP on simulated connections, so that ioredis itself connects to it. Commands run
 * in the order of their arrival, one at a time.
 */
import { createHash } from 'node:crypto'
import RedisParser from 'redis-parser'
import type { Random } from '../random.js'
import type { Endpoint, Link } from './network.js'
import { RedisData, RedisError, type Snapshot } from './redis-data.js'
import type { VirtualTime } from './virtual-time.js'

const CRLF = Buffer.from('\r\n')
const OK = Buffer.from('+OK\r\n')

class Connection {
  readonly endpoint: Endpoint
  readonly channels = new Set<string>()

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
  }

  get isSubscriber(): boolean {
    return this.channels.size > 0
  }
}

type ScriptName = 'open' | 'publish' | 'read'

export class SimulatedRedis {
  readonly data: RedisData
  readonly #connections = new Set<Connection>()
  readonly #scripts = new Map<string, ScriptName>()
  /** Command → the error that is its reply. */
  readonly #refused = new Map<string, string>()
  #up = true
  #generation = 1
  /** Commands that arrive while the server is paused. */
  #paused: (() => void)[] | undefined
  #saved: Snapshot | undefined
  /** Logs lost data since the start: resets may follow. */
  lossy = false
  /** Entries of a log were removed: gaps may follow. */
  trimmed = false

  constructor(time: VirtualTime, random: Random) {
    this.data = new RedisData({
      now: () => time.wallTime(),
      publish: (channel, message) => this.#publish(channel, message),
      refusal: (command) => this.#refused.get(command),
      trims: () => random.chance(0.5),
      onRemoved: () => {
        this.trimmed = true
      },
    })
  }

  get isUp(): boolean {
    return this.#up
  }

  /** The channels of all subscriptions, but for connections whose loss the server has not detected yet. */
  get subscriptions(): readonly string[] {
    const names: string[] = []
    for (const { channels, endpoint } of this.#connections) if (!endpoint.link.isBlackHole) names.push(...channels)
    return names
  }

  /** Whether the connection has subscriptions. */
  isSubscriber(link: Link): boolean {
    for (const { endpoint, isSubscriber } of this.#connections) if (endpoint.link === link) return isSubscriber
    return false
  }

  get connections(): number {
    return this.#connections.size
  }

  accept(endpoint: Endpoint): void {
    const connection = new Connection(endpoint)
    this.#connections.add(connection)
    const parser = new RedisParser({
      returnBuffers: true,
      returnReply: (request: unknown) => this.#receive(connection, request as Buffer[]),
      returnError: (error: Error) => endpoint.destroy(error),
    })
    endpoint.on('data', (chunk: Buffer) => parser.execute(chunk))
    endpoint.on('error', () => undefined)
    endpoint.on('close', () => this.#connections.delete(connection))
  }

  pause(): void {
    this.#paused ??= []
  }

  resume(): void {
    const commands = this.#paused ?? []
    this.#paused = undefined
    for (const command of commands) command()
  }

  /** Stops the server; all connections break. @param keeps whether a restart has all data, or none */
  stop(keeps: boolean): void {
    this.#up = false
    this.#paused = undefined
    this.cutConnections(() => true)
    if (keeps) return
    this.data.flush()
    this.lossy = true
  }

  /** After a restart the server has another replication id, and no scripts. */
  start(): void {
    this.#up = true
    this.#scripts.clear()
    this.data.replid = `replid${++this.#generation}`
  }

  save(): void {
    this.#saved = this.data.snapshot()
  }

  /** Restores the saved data. The server must be stopped. */
  restore(): void {
    if (this.#saved === undefined) return
    this.data.restore(this.#saved)
    this.lossy = true
  }

  flushScripts(): void {
    this.#scripts.clear()
  }

  refuse(command: string, error: string): void {
    this.#refused.set(command, error)
  }

  allow(): void {
    this.#refused.clear()
  }

  cutConnections(which: (isSubscriber: boolean) => boolean): void {
    for (const connection of this.#connections) {
      if (which(connection.isSubscriber)) connection.endpoint.link.cut()
    }
  }

  #receive(connection: Connection, request: readonly Buffer[]): void {
    const run = (): void => this.#execute(connection, request)
    if (this.#paused === undefined) run()
    else this.#paused.push(run)
  }

  #execute(connection: Connection, [nameBytes, ...args]: readonly Buffer[]): void {
    // A command whose connection has broken is executed too, if it had arrived.
    if (!this.#up) return
    const name = (nameBytes as Buffer).toString('latin1').toLowerCase()
    let reply: Buffer
    try {
      const refusal = this.#refused.get(name)
      if (refusal !== undefined) throw new RedisError(refusal)
      reply = this.#reply(connection, name, args)
    } catch (error) {
      if (!(error instanceof RedisError)) throw error
      reply = Buffer.from(`-${error.message}\r\n`)
    }
    send(connection, reply)
  }

  #reply(connection: Connection, name: string, args: readonly Buffer[]): Buffer {
    switch (name) {
      case 'evalsha':
      case 'eval':
        return encode(this.#script(name === 'eval', args))
      case 'subscribe':
      case 'unsubscribe':
        return this.#subscription(connection, name, args)
      case 'publish':
        return encode(this.#publish(text(args[0]), args[1] as Buffer))
      case 'info':
        return encode(`redis_version:7.0.0\r\nloading:0\r\nrole:master\r\nmaster_replid:${this.data.replid}\r\n`)
      case 'mget':
        return encode(args.map((key) => this.data.text(text(key))))
      case 'set': {
        const [key, value, , ttlMs, condition] = args.map(text) as [string, string, string, string, string?]
        return this.data.set(key, value, Number(ttlMs), condition === 'NX') ? OK : encode(null)
      }
      case 'ping':
        return connection.isSubscriber ? encode(['pong', args[0] ?? '']) : Buffer.from('+PONG\r\n')
      case 'client':
      case 'select':
      case 'auth':
        return OK
      default:
        throw new RedisError(`ERR unknown command '${name}'`)
    }
  }

  #script(isText: boolean, [script, count, ...rest]: readonly Buffer[]): unknown {
    const hash = isText
      ? createHash('sha1')
          .update(script as Buffer)
          .digest('hex')
      : text(script)
    if (isText) this.#scripts.set(hash, scriptName(text(script)))
    const name = this.#scripts.get(hash)
    if (name === undefined) throw new RedisError('NOSCRIPT No matching script. Please use EVAL.')
    const keys = rest.slice(0, Number(text(count))).map(text)
    const args = rest.slice(keys.length)
    if (name === 'open') return this.data.open(keys, args.map(text))
    if (name === 'read') return this.data.read(keys, args.map(text))
    return this.data.publish(keys, args)
  }

  #subscription(connection: Connection, name: 'subscribe' | 'unsubscribe', args: readonly Buffer[]): Buffer {
    const { channels } = connection
    const names = args.length > 0 ? args.map(text) : [...channels]
    const replies = names.map((channel) => {
      if (name === 'subscribe') channels.add(channel)
      else channels.delete(channel)
      return encode([name, channel, channels.size])
    })
    return Buffer.concat(replies)
  }

  #publish(channel: string, message: Buffer): number {
    let receivers = 0
    for (const connection of this.#connections) {
      if (!connection.channels.has(channel)) continue
      receivers++
      send(connection, encode(['message', channel, message]))
    }
    return receivers
  }
}

function send({ endpoint }: Connection, reply: Buffer): void {
  if (!endpoint.destroyed && endpoint.writable) endpoint.write(reply)
}

function scriptName(script: string): ScriptName {
  if (script.includes('XADD')) return 'publish'
  return script.includes('XRANGE') && !script.includes('XREVRANGE') ? 'read' : 'open'
}

function text(bytes: Buffer | undefined): string {
  return bytes?.toString('utf8') ?? ''
}

function encode(value: unknown): Buffer {
  const parts: Buffer[] = []
  print(value, parts)
  return Buffer.concat(parts)
}

function print(value: unknown, parts: Buffer[]): void {
  if (value === null) parts.push(Buffer.from('$-1\r\n'))
  else if (typeof value === 'number') parts.push(Buffer.from(`:${value}\r\n`))
  else if (typeof value === 'string') parts.push(Buffer.from(`$${Buffer.byteLength(value)}\r\n${value}\r\n`))
  else if (Buffer.isBuffer(value)) parts.push(Buffer.from(`$${value.length}\r\n`), value, CRLF)
  else if (value instanceof RedisError) parts.push(Buffer.from(`-${value.message}\r\n`))
  else if (Array.isArray(value)) {
    parts.push(Buffer.from(`*${value.length}\r\n`))
    for (const each of value) print(each, parts)
  } else throw new Error(`no RESP for ${typeof value}`)
}
