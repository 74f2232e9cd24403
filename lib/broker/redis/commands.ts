/**
 * The connection for everything but subscriptions: publish, history, heads. Owns what is said to Redis, what its answers mean, and how
 * many commands may wait.
 */
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent, LogEntry } from '../../core/message.js'
import { createEpoch, type Head, type Position } from '../../core/position.js'
import { isCluster, type RedisSource } from '../../redis/connect.js'
import { type CommandOptions, RedisHandle } from '../../redis/handle.js'
import type { HistoryPage } from '../broker.js'
import type { ResolvedHistoryOptions } from '../options.js'
import { Keys, takeNamespace } from './keys.js'
import { ephemeralMessage, parseLogged, printPayload } from './payload.js'
import { type RedisWithScripts, type ScriptHead, withScripts } from './scripts.js'
import { SeenPositions } from './seen-positions.js'

/** Commands sent or waiting at once; above it they fail at once instead of piling up while Redis is away. */
const MAX_PENDING = 10_000
/**
 * How long a process's last publication on a channel is remembered at least, in ms. A try may take effect for half as long, so whatever
 * arrives late is either recognised or refused.
 */
const ATTEMPT_TTL_MS = 60_000
const EMPTY = Buffer.alloc(0)
const READS: ReadonlySet<string> = new Set(['open', 'read', 'ping'])
/** Where an ephemeral event is in the log. */
const NOWHERE: Position = Object.freeze({ epoch: '', offset: 0 })

export interface RedisCommandsOptions extends ResolvedHistoryOptions {
  readonly redis: RedisSource
  readonly prefix: string
  readonly commandTimeoutMs: number
  readonly probeMs: number
  /** Connections that are tested beside this one. */
  readonly others: () => readonly Redis[]
}

type Limits = Pick<CommandOptions, 'timeoutMs' | 'onSettled'>

export class RedisCommands {
  readonly keys: Keys
  readonly #redis: RedisHandle<RedisWithScripts>
  readonly #options: RedisCommandsOptions
  readonly #clock: Clock
  readonly #seen = new SeenPositions()
  /** Tells this process's tries from those of all others. */
  readonly #publisherId = randomBytes(9).toString('base64url')
  /** Counts what this process has published: each of its calls has a number of its own, and all tries of a call the same. */
  #sequence = 0
  #pending = 0
  /** Redis's clock minus the local one, by the last answer; `undefined`: none yet. In a cluster that of the node that answered. */
  #redisOffset: number | undefined

  constructor(options: RedisCommandsOptions, clock: Clock) {
    const { redis, commandTimeoutMs, probeMs, others } = options
    this.#options = options
    this.#clock = clock
    let namespace = { keyPrefix: '', db: 0 }
    this.#redis = new RedisHandle(redis, {
      connectionName: 'express-sse-kit:commands',
      commandTimeoutMs,
      probeMs,
      clock,
      use: 'own',
      releasesProcess: true,
      others,
      prepare: (client) => {
        namespace = takeNamespace(client)
        withScripts(client)
      },
    })
    this.keys = new Keys(namespace.keyPrefix + options.prefix, namespace.db)
  }

  get client(): RedisWithScripts {
    return this.#redis.client
  }

  get ready(): boolean {
    return this.#redis.ready
  }

  /** @throws BrokerError */
  connected(timeoutMs: number): Promise<void> {
    return this.#redis.connected(timeoutMs)
  }

  /** The error for what was taken and could not be sent in time. */
  notSent(): BrokerError {
    if (!this.ready) return this.#redis.unavailable()
    return new BrokerError(
      'ERR_SSE_BROKER_UNAVAILABLE',
      `Redis did not answer the call before this one within ${this.#options.commandTimeoutMs} ms: this one was not sent`,
    )
  }

  /**
   * Adds the events to the log and sends them, in one step. The calls on a channel must come one after the other, each when the one
   * before has settled.
   * @returns where the log stands afterwards
   */
  async append(
    channel: string,
    events: readonly EncodedEvent[],
    idempotencyKey: string | undefined,
    limits: Limits,
  ): Promise<Head> {
    const { historySize, historyTtlMs, idempotencyTtlMs, commandTimeoutMs } = this.#options
    const sequence = ++this.#sequence
    const logged = events.filter(({ ephemeral }) => !ephemeral)
    const now = this.#clock.wallTime()
    const payload = printPayload(events, now)
    const kept = logged.length === events.length ? '' : printPayload(logged, now)
    const attemptTtlMs = Math.max(ATTEMPT_TTL_MS, 5 * commandTimeoutMs)
    const { keys } = this
    const call = (client: RedisWithScripts) =>
      client.ssePublish(
        keys.meta(channel),
        keys.stream(channel),
        keys.attempts(channel, this.#publisherId),
        idempotencyKey === undefined ? keys.meta(channel) : keys.idempotency(channel, idempotencyKey),
        ...this.#openArgs(channel),
        keys.name(channel),
        sequence,
        attemptTtlMs,
        historySize,
        historyTtlMs,
        idempotencyKey === undefined ? 0 : idempotencyTtlMs,
        logged.length,
        payload,
        kept,
        this.#redisTimeIn(attemptTtlMs / 2),
      )
    const send = (client: RedisWithScripts) =>
      call(client).then(
        (answer) => {
          this.#noteRedisTime(answer[3])
          return answer
        },
        (error: unknown) => {
          // Redis's clock is not what it was taken for: the next try has another deadline.
          const [, now] = (error instanceof Error && /LATE (\d+)/.exec(error.message)) || []
          if (now !== undefined) this.#noteRedisTime(Number(now))
          throw error
        },
      )
    const [epoch, offset, earlier, , refusal] = await this.#run('publish', send, limits)
    if (refusal !== undefined) {
      throw new BrokerError(
        'ERR_SSE_BROKER_TIMEOUT',
        `Redis refused (${refusal}) after the event had entered the log, and what it had done could not be undone`,
      )
    }
    return this.#headOf(channel, [epoch, offset, earlier])
  }

  /** Sends ephemeral events, which enter no log. */
  async broadcast(channel: string, events: readonly EncodedEvent[], limits: Limits): Promise<Position> {
    const message = ephemeralMessage(events, this.#clock.wallTime())
    await this.#run('broadcast', (client) => send(client, this.keys.name(channel), message), limits)
    return NOWHERE
  }

  /** @returns how many connections are subscribed */
  signal(name: string, text: string): Promise<number> {
    return this.#run('signal', (client) => send(client, name, text))
  }

  /** Commands that `send` gives off reach the socket in one write. */
  together(send: () => void): void {
    // Without a connection there is no socket yet, and the commands wait.
    const sockets = this.#redis.connections.filter(({ status }) => status === 'ready').map(({ stream }) => stream)
    for (const socket of sockets) socket.cork()
    send()
    for (const socket of sockets) socket.uncork()
  }

  /** Where the log stands; made if there is none. */
  async open(channel: string): Promise<Head> {
    const head = await this.#run('open', (client) =>
      client.sseOpen(this.keys.meta(channel), this.keys.stream(channel), ...this.#openArgs(channel)),
    )
    return this.#headOf(channel, head)
  }

  async read(channel: string, after: number, limit: number, maxBytes: number): Promise<HistoryPage> {
    const [epochBytes, offset, endOffset, rows] = await this.#run('read', (client) =>
      client.sseReadBuffer(this.keys.meta(channel), this.keys.stream(channel), after, limit, maxBytes),
    )
    const epoch = epochBytes?.toString() ?? ''
    const found = rows
      .flatMap(([id, [, payload = EMPTY]]) => parseLogged(epoch, Number.parseInt(id.toString('latin1'), 10), payload))
      .filter((entry) => entry.offset > after)
    const entries = withinBounds(found, limit, maxBytes)
    const end = entries.length < found.length ? (entries.at(-1)?.offset ?? after) : Number(endOffset)
    return { head: { epoch, offset: Number(offset ?? 0) }, entries, end }
  }

  /** Resolves if Redis answers, and lets publish. */
  async ping(): Promise<void> {
    await this.#run('ping', (client) => send(client, this.keys.ping(), ''))
  }

  /** Notes a position seen live, so that a log that went back behind it is found out. */
  saw(channel: string, position: Position): void {
    this.#seen.note(channel, position)
  }

  /** Idempotent. */
  close(): void {
    this.#redis.close()
  }

  /** Of all that is run here only publishing changes anything that matters; and Redis knows its tries. */
  #run<T>(command: string, send: (client: RedisWithScripts) => Promise<T>, limits: Limits = {}): Promise<T> {
    if (this.#pending >= MAX_PENDING) {
      limits.onSettled?.()
      return Promise.reject(
        new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `${MAX_PENDING} commands already wait for Redis`),
      )
    }
    this.#pending++
    return this.#redis.run(send, {
      timeoutMs: limits.timeoutMs,
      retries: true,
      reads: READS.has(command),
      onSettled: () => {
        this.#pending--
        limits.onSettled?.()
      },
      report: diagnostics.brokerCommand.hasSubscribers ? { to: diagnostics.brokerCommand, command } : undefined,
    })
  }

  #openArgs(channel: string): [string, string, number, number] {
    const seen = this.#seen.get(channel)
    return [createEpoch(), seen?.epoch ?? '', seen?.offset ?? 0, this.#options.metaTtlMs]
  }

  #noteRedisTime(now: number): void {
    this.#redisOffset = now - this.#clock.now()
  }

  /** @returns what Redis's clock will show in `ms`, and never more; 0 if that is not known yet */
  #redisTimeIn(ms: number): number {
    return this.#redisOffset === undefined ? 0 : Math.floor(this.#redisOffset + this.#clock.now() + ms)
  }

  #headOf(channel: string, [epoch, offset, earlier]: Readonly<ScriptHead>): Head {
    const position = { epoch, offset: Number(offset) }
    const head = earlier === '' ? position : { ...position, earlier: earlier.split('.').map(parseLife) }
    const lossy = this.#seen.noteHead(channel, head)
    return lossy.length === 0 ? head : { ...head, lossy }
  }
}

/** A call that published many events is one entry in Redis: of the last one, only what still fits is of use. */
function withinBounds(entries: readonly LogEntry[], limit: number, maxBytes: number): readonly LogEntry[] {
  let bytes = 0
  for (const [i, { body }] of entries.entries()) {
    bytes += body.length
    if (i === limit || (i > 0 && bytes > maxBytes)) return entries.slice(0, i)
  }
  return entries
}

function parseLife(text: string): Position {
  const [epoch = '', offset] = text.split('-')
  return { epoch, offset: Number(offset) }
}

function send(client: RedisWithScripts, name: string, message: string | Buffer): Promise<number> {
  return isCluster(client) ? (client.spublish(name, message) as Promise<number>) : client.publish(name, message)
}
