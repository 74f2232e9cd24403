/**
 * The connection for everything but subscriptions: publish, history, heads. Owns the waiting: for the connection, for an
 * answer, and how much may wait.
 */
import { randomBytes } from 'node:crypto'
import { Cluster, type Redis } from 'ioredis'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError } from '../../core/errors.js'
import type { EncodedEvent, LogEntry } from '../../core/message.js'
import type { Clock, HistoryPage } from '../../core/ports.js'
import { createEpoch, type Head, type Position } from '../../core/position.js'
import { connectRedis, type RedisSource, toBrokerError, whenReady } from '../../redis/connect.js'
import type { ResolvedLogOptions } from '../options.js'
import { Keys } from './keys.js'
import { ephemeralMessage, parseLogged, printPayload } from './payload.js'
import { type ScriptHead, withScripts } from './scripts.js'
import { SeenPositions } from './seen-positions.js'

/** Commands sent or waiting at once; above it they fail at once instead of piling up while Redis is away. */
const MAX_PENDING = 10_000
const RETRY_PAUSE_MS = 20
const EMPTY = Buffer.alloc(0)
/** Where an ephemeral event is in the log. */
const NOWHERE: Position = Object.freeze({ epoch: '', offset: 0 })

export interface CommandOptions extends ResolvedLogOptions {
  readonly redis: RedisSource
  readonly prefix: string
  readonly commandTimeoutMs: number
}

export class RedisCommands {
  readonly client
  readonly #options: CommandOptions
  readonly #keys: Keys
  readonly #clock: Clock
  readonly #seen = new SeenPositions()
  /** Tells this process's attempts from those of all others. */
  readonly #processId = randomBytes(6).toString('base64url')
  #attempts = 0
  #pending = 0

  constructor(options: CommandOptions, clock: Clock) {
    this.#options = options
    this.#keys = new Keys(options.prefix)
    this.#clock = clock
    this.client = withScripts(
      connectRedis(options.redis, {
        connectionName: 'express-sse-kit:commands',
        commandTimeoutMs: options.commandTimeoutMs,
      }),
    )
    this.client.setMaxListeners(MAX_PENDING + 20)
  }

  /** Adds the events to the log and sends them, in one step. @returns where the log stands afterwards */
  async append(channel: string, events: readonly EncodedEvent[], idempotencyKey?: string): Promise<Head> {
    const { historySize, historyTtlMs, idempotencyTtlMs } = this.#options
    const attempt = `${this.#processId}${(this.#attempts++).toString(36)}`
    const logged = events.filter(({ ephemeral }) => !ephemeral)
    const now = this.#clock.wallTime()
    const payload = printPayload(events, now)
    const kept = logged.length === events.length ? '' : printPayload(logged, now)
    let ranBefore = false
    const head = await this.#run('publish', () => {
      const answer = this.client.ssePublish(
        this.#keys.meta(channel),
        this.#keys.stream(channel),
        idempotencyKey === undefined ? this.#keys.meta(channel) : this.#keys.idempotency(channel, idempotencyKey),
        ...this.#openArgs(channel),
        this.#keys.name(channel),
        attempt,
        ranBefore ? '1' : '0',
        historySize,
        historyTtlMs,
        idempotencyKey === undefined ? 0 : idempotencyTtlMs,
        logged.length,
        payload,
        kept,
      )
      ranBefore = true
      return answer
    })
    return this.#headOf(channel, head)
  }

  /** Sends ephemeral events, which enter no log. */
  async broadcast(channel: string, events: readonly EncodedEvent[]): Promise<Position> {
    const message = ephemeralMessage(events, this.#clock.wallTime())
    await this.#run('broadcast', () => this.#send(this.#keys.name(channel), message))
    return NOWHERE
  }

  /** @returns how many connections are subscribed */
  signal(name: string, text: string): Promise<number> {
    return this.#run('signal', () => this.#send(name, text))
  }

  /** Commands that `send` gives off reach the socket in one write. */
  together(send: () => void): void {
    // Without a connection there is no socket yet, and the commands wait.
    const sockets = this.connections.filter(({ status }) => status === 'ready').map(({ stream }) => stream)
    for (const socket of sockets) socket.cork()
    send()
    for (const socket of sockets) socket.uncork()
  }

  /** One, or in a cluster one for each master. */
  get connections(): readonly Redis[] {
    return this.client instanceof Cluster ? this.client.nodes('master') : [this.client]
  }

  /** Where the log stands; made if there is none. */
  async open(channel: string): Promise<Head> {
    const head = await this.#run('open', () =>
      this.client.sseOpen(this.#keys.meta(channel), this.#keys.stream(channel), ...this.#openArgs(channel)),
    )
    return this.#headOf(channel, head)
  }

  async read(channel: string, after: number, limit: number, maxBytes: number): Promise<HistoryPage> {
    const [epochBytes, offset, endOffset, rows] = await this.#run('read', () =>
      this.client.sseReadBuffer(this.#keys.meta(channel), this.#keys.stream(channel), after, limit, maxBytes),
    )
    const epoch = epochBytes?.toString() ?? ''
    const found = rows
      .flatMap(([id, [, payload = EMPTY]]) => parseLogged(epoch, Number.parseInt(id.toString('latin1'), 10), payload))
      .filter((entry) => entry.offset > after)
    const entries = withinBounds(found, limit, maxBytes)
    const end = entries.length < found.length ? (entries.at(-1)?.offset ?? after) : Number(endOffset)
    return { head: { epoch, offset: Number(offset ?? 0) }, entries, end }
  }

  async ping(): Promise<void> {
    await this.#run('ping', () => this.client.ping())
  }

  /** Notes a position seen live, so that a log that went back behind it is found out. */
  saw(channel: string, position: Position): void {
    this.#seen.note(channel, position)
  }

  /** Sends as soon as there is a connection; what fails before or with the connection is sent again in time. */
  async #run<T>(command: string, send: () => Promise<T>): Promise<T> {
    if (this.#pending >= MAX_PENDING) {
      throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `${MAX_PENDING} commands already wait for Redis`)
    }
    this.#pending++
    const beganAt = this.#clock.now()
    const deadline = beganAt + this.#options.commandTimeoutMs
    let failure: BrokerError | undefined
    try {
      for (;;) {
        if (this.client.status !== 'ready') await whenReady(this.client, Math.max(1, deadline - this.#clock.now()))
        try {
          return await send()
        } catch (cause) {
          const error = toBrokerError(cause)
          if (!isRetryable(error) || this.#clock.now() >= deadline) throw error
          await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS))
        }
      }
    } catch (cause) {
      failure = toBrokerError(cause)
      throw failure
    } finally {
      this.#pending--
      if (diagnostics.brokerCommand.hasSubscribers) {
        diagnostics.brokerCommand.publish({ command, ms: this.#clock.now() - beganAt, error: failure })
      }
    }
  }

  #send(name: string, message: string | Buffer): Promise<number> {
    return this.client instanceof Cluster
      ? (this.client.spublish(name, message) as Promise<number>)
      : this.client.publish(name, message)
  }

  #openArgs(channel: string): [string, string, number, number] {
    const seen = this.#seen.get(channel)
    return [createEpoch(), seen?.epoch ?? '', seen?.offset ?? 0, this.#options.metaTtlMs]
  }

  #headOf(channel: string, [epoch, offset, earlier]: ScriptHead): Head {
    const position = { epoch, offset: Number(offset) }
    this.#seen.note(channel, position)
    return earlier === '' ? position : { ...position, earlier: earlier.split('.').map(parseLife) }
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

function isRetryable({ code, message }: BrokerError): boolean {
  return (
    code === 'ERR_SSE_BROKER_UNAVAILABLE' || (code === 'ERR_SSE_BROKER_REFUSED' && /READONLY|LOADING/.test(message))
  )
}
